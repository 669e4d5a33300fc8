"""Instrument notes rendered from the General MIDI SoundFont that ships with the package pretty_midi; no download.

112 melodic programs x 9 keys x 2 velocities; the label is one of 14 instrument families. The split is by program, and
no two splits share a recording, so that the instruments of the test split are unheard in training: about half of the
programs play recordings that another program plays too, and these all train (the family ``synth-pad`` as a whole). In
the style of NSynth, but not NSynth itself.
"""

import importlib.util
import itertools
from collections import Counter
from collections.abc import Sequence, Set
from pathlib import Path

import numpy as np

from contrastbench.datasets.base import Adapter, Split
from contrastbench.datasets.sound_files import to_int16
from contrastbench.datasets.soundfont import SoundFont
from contrastbench.errors import UserError
from contrastbench.files import file_hash
from contrastbench.params.data import DataParams

SHA256 = "82475b91a76de15cb28a104707d3247ba932e228bada3f47bba63c6b31aaf7a1"
FAMILIES = (
    "piano",
    "chromatic-percussion",
    "organ",
    "guitar",
    "bass",
    "strings",
    "ensemble",
    "brass",
    "reed",
    "pipe",
    "synth-lead",
    "synth-pad",
    "synth-effects",
    "ethnic",
)
PROGRAMS_PER_FAMILY = 8
KEYS = tuple(range(48, 73, 3))  # within the range of nearly every instrument
VELOCITIES = (60, 110)
# Of each family's programs that share no recording with any other, counted from the last; the others train.
SPLITS = ("test", "validation", "test")
SECONDS, HELD = 1.3, 1.0
RENDER_RATE, STEP = 48000, 3  # rendered at 48 kHz, then low-pass filtered and decimated to 16 kHz


def soundfont_path() -> Path:
    """Where pretty_midi keeps its SoundFont; UserError when it is missing or another file."""
    package = importlib.util.find_spec("pretty_midi")  # locates it without importing it
    if package is None or package.origin is None:
        raise UserError("instruments ships with the package pretty_midi, which is not installed; run `make install`")
    path = Path(package.origin).parent / "TimGM6mb.sf2"
    if not path.is_file() or file_hash(path) != SHA256:
        raise UserError(f"{path}: missing or wrong file (sha256); install the pretty_midi that pyproject.toml names")
    return path


def render_programs(font: SoundFont, programs: list[int]) -> np.ndarray:
    """Every note of ``programs``: float32 (programs * keys * velocities, samples) at 16 kHz, key by key."""
    from scipy.signal import resample_poly

    notes = [
        font.render(program, key, velocity, seconds=SECONDS, held=HELD, rate=RENDER_RATE)
        for program in programs
        for key in KEYS
        for velocity in VELOCITIES
    ]
    return resample_poly(np.stack(notes), 1, STEP, axis=1).astype(np.float32)


def splits_of(recordings: Sequence[Set[int]]) -> list[str]:
    """The split of each program, given the recordings that it plays: no recording is played in two splits."""
    played_by = Counter(itertools.chain.from_iterable(recordings))
    split = ["train"] * len(recordings)
    for first in range(0, len(recordings), PROGRAMS_PER_FAMILY):
        family = range(first, first + PROGRAMS_PER_FAMILY)
        alone = [program for program in family if all(played_by[r] == 1 for r in recordings[program])]
        for program, name in zip(reversed(alone), SPLITS, strict=False):
            split[program] = name
    return split


def recordings_of(font: SoundFont, program: int) -> set[int]:
    """The recordings that the notes of ``program`` play, each named by its position in the SoundFont."""
    return {header.start for key in KEYS for v in VELOCITIES for header, _ in font.voices(program, key, v)}


def _read(_: Path, __: DataParams) -> dict[str, Split]:
    font = SoundFont(soundfont_path())
    programs = list(range(len(FAMILIES) * PROGRAMS_PER_FAMILY))
    waves = np.concatenate([render_programs(font, [program]) for program in programs])
    waves *= 0.95 / np.abs(waves).max()  # one gain for all notes: loudness differs between instruments
    samples = to_int16(waves)
    per_program = len(KEYS) * len(VELOCITIES)
    program = np.repeat(programs, per_program)
    key = np.tile(np.repeat(KEYS, len(VELOCITIES)), len(programs))
    split_of_program = np.array(splits_of([recordings_of(font, program) for program in programs]))
    splits = {}
    for split in ("train", "validation", "test"):
        chosen = split_of_program[program] == split
        columns = {
            "offsets": np.arange(chosen.sum() + 1, dtype=np.int64) * samples.shape[1],
            "group": program[chosen].astype(np.int64),
            "key": key[chosen].astype(np.int64),
        }
        splits[split] = Split(samples[chosen].ravel(), program[chosen] // PROGRAMS_PER_FAMILY, columns)
    return splits


ADAPTER = Adapter(
    name="instruments",
    modality="audio",
    classes=FAMILIES,
    licence="GPL-2.0 (TimGM6mb.sf2, Tim Brechbill, as shipped with pretty_midi)",
    source="package pretty_midi, TimGM6mb.sf2",
    split_rule="by program: of each family's 8 General MIDI programs those that share a recording with another train; "
    "of its others the last and the third from the end test, the one between validates, the rest train",
    read=_read,
)
