"""Speech Commands v0.02: 105,829 one-second recordings of 35 words; the official lists split by speaker."""

import re
from pathlib import Path

import pandas as pd

from contrastbench.datasets.base import Adapter, Archive, Split
from contrastbench.datasets.clips import expect, find_file, numbered, opened, read_splits, share_of, sound_paths
from contrastbench.params.data import DataParams

ARCHIVE = Archive(
    url="https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
    name="speech_commands_v0.02.tar.gz",
    digest="af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",  # as torchaudio checks it
)
RATE = 16_000
SPEAKER = re.compile(r"([0-9a-f]{8})_nohash_\d+$")
NAMES = """
backward bed bird cat dog down eight five follow forward four go happy house learn left marvin nine no off on one
right seven sheila six stop three tree two up visual wow yes zero
"""
WORDS = tuple(NAMES.split())
LICENCE = "CC BY 4.0, Warden (2018)"


def bare_name(path: Path) -> str:
    """The file's name without its suffixes, of which repacked recordings have two (``.wav.opus``)."""
    return path.name.split(".")[0]


def speaker_of(path: Path) -> str:
    """The speaker's hexadecimal id; files without one are of their folder's one speaker.

    Those are the silences, which overlap: all of them are cut out of six recordings of noise.
    """
    match = SPEAKER.search(bare_name(path))
    return match.group(1) if match else path.parent.name


def clip_table(folder: Path, classes: tuple[str, ...]) -> pd.DataFrame:
    """One row per recording in ``CLASS/``: name (CLASS/FILE), path, y, speaker, group (number of the speaker)."""
    numbers = {name: number for number, name in enumerate(classes)}
    paths = [path for path in sound_paths(folder) if path.parent.name in numbers]
    table = pd.DataFrame({"path": paths, "name": [f"{path.parent.name}/{bare_name(path)}" for path in paths]})
    table["y"] = [numbers[path.parent.name] for path in paths]
    present = table["y"].nunique()
    expect(present == len(classes), "speechcommands", f"{present} of {len(classes)} word folders contain recordings")
    table["speaker"] = [speaker_of(path) for path in paths]
    table["group"] = numbered(table["speaker"])
    return table


def split_of_speaker(speaker: str) -> str:
    """The split by the sha256 of the speaker: 70 % train, 10 % validate, 20 % test."""
    share = share_of(speaker)
    return "train" if share < 0.7 else "validation" if share < 0.8 else "test"


def _official_split(folder: Path, names: pd.Series) -> pd.Series:
    split = pd.Series("train", index=names.index)
    for name, file in (("validation", "validation_list.txt"), ("test", "testing_list.txt")):
        listed = find_file(folder, file).read_text(encoding="utf-8").split()
        split[names.isin([line.removesuffix(".wav") for line in listed])] = name
    return split


def _read(raw: Path, params: DataParams) -> dict[str, Split]:
    with opened(raw, ARCHIVE) as folder:
        table = clip_table(folder, WORDS)
        table["split"] = _official_split(folder, table["name"])
        return read_splits(table.drop(columns="speaker"), params, rates=(RATE,))


ADAPTER = Adapter(
    name="speechcommands",
    modality="audio",
    classes=WORDS,
    licence=LICENCE,
    source="https://www.tensorflow.org/datasets/catalog/speech_commands (v0.02)",
    split_rule="official validation_list.txt and testing_list.txt, which split by speaker; the others train",
    read=_read,
    archives=(ARCHIVE,),
)
