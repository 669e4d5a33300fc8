"""NSynth: 293,301 of its notes of 4 s, by instruments of 11 families; the label is the family.

Magenta publishes no hash of its archives; the reader checks the counts of notes instead. Its validation notes are by
instruments that also play its test notes, so they are left out: instruments of the training notes validate here.
"""

from contextlib import ExitStack
from pathlib import Path

import pandas as pd

from contrastbench.datasets.base import Adapter, Archive, Split
from contrastbench.datasets.clips import by_stem, expect, find_file, opened, read_splits, share_of, sound_paths
from contrastbench.errors import UserError
from contrastbench.params.data import DataParams

URL = "http://download.magenta.tensorflow.org/datasets/nsynth"
COUNTS = {"train": 289_205, "test": 4_096}
FOLDERS = {"train": "nsynth-train", "test": "nsynth-test"}
VALIDATE = 0.05  # share of the training notes' instruments
ARCHIVES = tuple(Archive(url=f"{URL}/{f}.jsonwav.tar.gz", name=f"{f}.jsonwav.tar.gz") for f in FOLDERS.values())
FAMILIES = ("bass", "brass", "flute", "guitar", "keyboard", "mallet", "organ", "reed", "string", "synth_lead", "vocal")


def clip_table(folders: list[Path], counts: dict[str, int]) -> pd.DataFrame:
    """One row per note: name, path, y (family), group (instrument), key, split."""
    parts = []
    for split, folder in zip(FOLDERS, folders, strict=True):
        file = find_file(folder, "examples.json")
        try:
            notes = pd.read_json(file, orient="index")
            facts = notes[["instrument_family", "instrument", "pitch"]].astype("int64")
        except (ValueError, KeyError) as error:
            raise UserError(f"{split}: examples.json is not the official one: {error}") from None
        paths = by_stem(sound_paths(folder))
        whole = len(facts) == counts[split] and facts.index.isin(paths).all()
        expect(bool(whole), "nsynth", f"{split} must contain {counts[split]} notes, each with its sound file")
        expect(facts["instrument_family"].between(0, 10).all(), "nsynth", f"{split} names an unknown family")
        facts = facts.set_axis(["y", "group", "key"], axis=1)
        parts.append(facts.assign(name=facts.index, path=facts.index.map(paths), split=split))
    table = pd.concat(parts, ignore_index=True)
    validate = table["group"].map(lambda instrument: share_of(str(instrument)) < VALIDATE)
    table.loc[validate & (table["split"] == "train"), "split"] = "validation"
    return table


def _read(raw: Path, params: DataParams) -> dict[str, Split]:
    with ExitStack() as stack:
        pairs = zip(ARCHIVES, FOLDERS.values(), strict=True)
        folders = [stack.enter_context(opened(raw, archive, folder)) for archive, folder in pairs]
        return read_splits(clip_table(folders, COUNTS), params, rates=(16_000,))


ADAPTER = Adapter(
    name="nsynth",
    modality="audio",
    classes=FAMILIES,
    licence="CC BY 4.0, Engel et al. (2017)",
    source="https://magenta.tensorflow.org/datasets/nsynth",
    split_rule="official train and test, which share no instrument; by the sha256 of the instrument 5 % of train's "
    "validate, because the official valid has test's instruments; column group: instrument",
    read=_read,
    archives=ARCHIVES,
    unpacked=tuple(FOLDERS.values()),
)
