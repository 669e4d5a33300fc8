"""From a table of clips to splits: what the audio adapters share."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from contrastbench.datasets.base import Archive, Split
from contrastbench.datasets.fetch import unpacked
from contrastbench.datasets.scratch import scratch_folder
from contrastbench.datasets.sound_files import read_sounds, refuse_bad
from contrastbench.errors import UserError
from contrastbench.params.data import DataParams

SOUNDS = (".wav", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf")


@contextmanager
def opened(raw: Path, archive: Archive, folder: str | None = None) -> Iterator[Path]:
    """Yield a folder with the contents of ``archive``: ``folder`` inside the raw folder, or an unpacked archive."""
    if folder is not None and (raw / folder).is_dir():
        yield raw / folder
        return
    for candidate in (archive, *archive.alternatives):
        if (raw / candidate.name).is_file():
            with unpacked(raw / candidate.name) as contents:
                yield contents
            return
    raise UserError(f"{raw}: contains no {' and no '.join([*([folder] if folder else []), archive.name])}")


def sound_paths(folder: Path) -> list[Path]:
    """Every sound file below ``folder``, sorted."""
    paths = sorted(folder.rglob("*"))
    return [path for path in paths if path.suffix.lower() in SOUNDS and not path.name.startswith(".")]


def by_stem(paths: list[Path]) -> dict[str, Path]:
    """Paths by file name without extension; two files with the same one are a UserError."""
    found = {path.stem: path for path in paths}
    if len(found) < len(paths):
        twice = next(path for path in paths if found[path.stem] != path)
        raise UserError(f"{twice.name}: two sound files have this name; keep one")
    return found


def find_file(folder: Path, name: str) -> Path:
    """The first file called ``name`` below ``folder``; UserError when there is none."""
    for path in sorted(folder.rglob(name)):
        return path
    raise UserError(f"{name}: not among the data set's files; put the official one next to the clips")


def expect(right: bool, name: str, rule: str) -> None:
    """Check a rule about the contents of a data set without a published hash; UserError where it does not hold."""
    if not right:
        raise UserError(f"{name}: incomplete or not the official data: {rule}")


def read_table(path: Path, columns: tuple[str, ...], **options: object) -> pd.DataFrame:
    """Read a CSV file that must have ``columns``; a one-line UserError when it is something else."""
    try:
        table = pd.read_csv(path, **options)  # type: ignore[call-overload]
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path.name}: cannot be read as CSV: {error}") from None
    missing = [column for column in columns if column not in table]
    if missing:
        raise UserError(f"{path.name}: has no column {missing[0]!r}; is this the official file?")
    return table


def numbered(values: pd.Series) -> np.ndarray:
    """Number the values in sorted order, equal values alike: int64 (N,)."""
    return np.unique(values.to_numpy(), return_inverse=True)[1].astype(np.int64)


def share_of(name: str) -> float:
    """Where in [0, 1) the sha256 of ``name`` lies: splits by it need no list and no random numbers."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32


def read_splits(table: pd.DataFrame, params: DataParams, rates: tuple[int, ...] = ()) -> dict[str, Split]:
    """Decode the clips of ``table`` into splits.

    Columns of ``table``: ``name`` (for messages), ``path``, ``split``, ``y`` (class number; absent for data without
    labels, not read for the split ``unlabeled``), and further integer columns (``group``, ``fold``, ...), which are
    kept. Bad clips are refused or skipped as the parameters say; a split left without clips is a UserError.
    """
    further = [column for column in table if column not in ("name", "path", "split", "y")]
    bad: list[str] = []
    splits = {}
    for split, rows in table.groupby("split", sort=False):
        with scratch_folder() as scratch:
            sounds = read_sounds(zip(rows["name"], rows["path"], strict=True), scratch, params, rates)
        bad += sounds.bad
        kept = rows[sounds.kept]
        if kept.empty:
            raise UserError(f"{split}: none of the clips can be used; the first: {sounds.bad[0]}")
        columns = {"offsets": sounds.offsets} | {name: kept[name].to_numpy(np.int64) for name in further}
        labels = None if split == "unlabeled" or "y" not in kept else kept["y"].to_numpy(np.int64)
        splits[str(split)] = Split(sounds.samples, labels, columns, tuple(sounds.bad))
    refuse_bad(bad, len(table), params)
    return splits
