"""AudioSet's balanced training segments (AS-20K), read from your own folder of clips; they cannot be downloaded.

data/raw/audioset20k/clips/ holds 10-s clips named by their YouTube id: ID, YID, ID_START or ID_START_END (START and END
in seconds or milliseconds); data/raw/audioset20k/balanced_train_segments.csv is the official list. Listed clips that
the folder does not hold, or in a format that is not read, are named in meta.json (``skipped``). Labels are not read:
the set is only for training without them.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from contrastbench.datasets.base import Adapter, Split
from contrastbench.datasets.clips import by_stem, find_file, numbered, read_splits, read_table, share_of, sound_paths
from contrastbench.errors import UserError
from contrastbench.files import entries_under
from contrastbench.params.data import DataParams

LISTING = "balanced_train_segments.csv"


def clip_table(raw: Path) -> tuple[pd.DataFrame, list[str]]:
    """One row per clip present (name, path, group: the video, split), and "ID: reason" of the missing clips."""
    if not (raw / "clips").is_dir():
        raise UserError(f"{raw / 'clips'}: no such folder; put AudioSet's clips there and {LISTING} into {raw}")
    listing = read_table(
        find_file(raw, LISTING),
        ("id", "start", "end"),
        skiprows=3,  # comment lines, the last of which names the columns
        names=["id", "start", "end", "labels"],
        skipinitialspace=True,
        quotechar='"',
    )
    paths = by_stem(sound_paths(raw / "clips"))
    found = [next((name for name in _names(row) if name in paths), None) for row in listing.itertuples(index=False)]
    present = [name is not None for name in found]
    if not any(present):
        raise UserError(
            f"{raw / 'clips'}: contains none of {LISTING}'s {len(listing)} clips in a format that is read "
            "(ID.wav, YID.wav, ...)"
        )
    table = pd.DataFrame({"name": [name for name in found if name is not None]})
    table["path"] = table["name"].map(paths)
    ids = listing["id"][present].reset_index(drop=True)
    table["group"] = numbered(ids)
    table["split"] = ids.map(_split_of)
    return table, _missing(listing[[not here for here in present]], raw / "clips")


def _missing(listing: pd.DataFrame, folder: Path) -> list[str]:
    """Why none of the listed clips can be read: "ID: reason"."""
    unread = {path.stem: path.name for path in entries_under(folder) if path.is_file()}
    told = []
    for row in listing.itertuples(index=False):
        other = next((unread[name] for name in _names(row) if name in unread), None)
        reason = f"{other} is in no format that is read; convert it to FLAC or WAV" if other else "no such clip"
        told.append(f"{row.id}: {reason}")
    return told


def _names(row: Any) -> list[str]:
    names = [row.id, f"Y{row.id}"]
    for scale in (1, 1000):
        start, end = round(row.start * scale), round(row.end * scale)
        names += [f"{row.id}_{start}", f"{row.id}_{start}_{end}"]
    return names


def _split_of(video: str) -> str:
    share = share_of(video)
    return "train" if share < 0.98 else "validation" if share < 0.99 else "test"


def _read(raw: Path, params: DataParams) -> dict[str, Split]:
    table, missing = clip_table(raw)
    splits = read_splits(table, params)
    splits["train"] = replace(splits["train"], skipped=(*splits["train"].skipped, *missing))
    return splits


ADAPTER = Adapter(
    name="audioset20k",
    modality="audio",
    classes=(),
    licence="CC BY 4.0 (list), Gemmeke et al. (2017); the clips are their authors'",
    source="https://research.google.com/audioset/download.html, balanced_train_segments.csv, and your own clips",
    split_rule="without labels; by the sha256 of the video: 98 % train, 1 % validate, 1 % test",
    read=_read,
)
