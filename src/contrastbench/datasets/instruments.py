"""Instrument notes rendered from the General MIDI SoundFont that ships with the package pretty_midi; no download.

112 melodic programs x 9 keys x 2 velocities; the label is one of 14 instrument families, split by program, so
that the instruments of the test split are unheard in training. In the style of NSynth, but not NSynth itself.
"""

import importlib.util
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
# Positions within each family; the others train.
SPLIT_OF = {5: "validation", 3: "test", 7: "test"}
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


def _as_first_rounded(samples: np.ndarray) -> np.ndarray:
    """``samples`` (notes, samples) with the few that the first rendering had rounded to the neighbouring number.

    That one took powers in float32, whose last bits are the processor's own; 813 of 42 million samples came out
    otherwise than now. They are kept as they were, so that the data set stays the one that all results are of.
    """
    position, added = np.loadtxt(Path(__file__).with_name("instruments_rounding.txt"), dtype=np.int64).T
    flat = samples.ravel()
    flat[position] += added.astype(np.int16)
    return flat.reshape(samples.shape)


def _read(_: Path, __: DataParams) -> dict[str, Split]:
    font = SoundFont(soundfont_path())
    programs = list(range(len(FAMILIES) * PROGRAMS_PER_FAMILY))
    waves = np.concatenate([render_programs(font, [program]) for program in programs])
    waves *= 0.95 / np.abs(waves).max()  # one gain for all notes: loudness differs between instruments
    samples = _as_first_rounded(to_int16(waves))
    per_program = len(KEYS) * len(VELOCITIES)
    program = np.repeat(programs, per_program)
    key = np.tile(np.repeat(KEYS, len(VELOCITIES)), len(programs))
    role = np.array([SPLIT_OF.get(p % PROGRAMS_PER_FAMILY, "train") for p in program])
    splits = {}
    for split in ("train", "validation", "test"):
        chosen = role == split
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
    split_rule="by program: of each family's 8 General MIDI programs the 4th and 8th test, the 6th validation, 5 train",
    read=_read,
)
