"""Data sets of Hugging Face's package ``datasets``: of the hub, or of a folder. No code of theirs is run."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from contrastbench.datasets.base import Split
from contrastbench.datasets.image_folder import on_disk
from contrastbench.datasets.own import Own, Reading, refuse_bad
from contrastbench.datasets.own_splits import read_own_splits
from contrastbench.datasets.pictures import read_picture
from contrastbench.datasets.sound_files import BadClip, decode
from contrastbench.errors import UserError
from contrastbench.files import reading as reading_file
from contrastbench.params.declared import HuggingFace

SAVED = ("dataset_dict.json", "dataset_info.json")  # what `save_to_disk` leaves, of several splits and of one
GIVEN = {"train": ("train",), "test": ("test", "validation"), "validation": ("validation",)}
LABELS = ("label", "labels", "class", "category", "target")


def read(reading: Reading, declared: HuggingFace) -> Own:
    """Examples and labels of the columns that hold them; a UserError where there are none, or of another modality."""
    tables = chosen(splits_of(reading.path, declared), declared)
    bad: list[str] = []
    parts = {split: _part(tables[split], declared, reading, split, bad) for split in tables}
    count = sum(len(table) for table in tables.values())
    refuse_bad(reading.name, bad, count, declared.on_bad_file)
    source = f"{declared.kind} {' '.join(filter(None, [declared.path, declared.name, declared.revision]))}"
    return read_own_splits(reading, declared.modality, source, parts, declared.split, bad)


def splits_of(path: Path, declared: HuggingFace) -> dict[str, Any]:
    """Its tables by split; a UserError where it is not found, or the package is not installed."""
    try:
        import datasets
    except ImportError:
        missing = "the kind huggingface needs the package datasets: pip install 'contrastbench[huggingface]'"
        raise UserError(f"{declared.path}: {missing}") from None
    where = str(path) if path.exists() else declared.path
    try:
        with reading_file(path, "data set of Hugging Face", "see what `datasets.load_dataset` says of it"):
            if any((path / name).is_file() for name in SAVED):
                found = datasets.load_from_disk(where)
            else:
                found = datasets.load_dataset(where, declared.name, revision=declared.revision)
    except OSError as error:
        raise UserError(f"{where}: no such folder, nor a data set that the hub gives: {error}") from None
    return dict(found) if isinstance(found, Mapping) else {"train": found}


def chosen(tables: dict[str, Any], declared: HuggingFace) -> dict[str, Any]:
    """The tables of train, test and maybe validation where they are ``given``; else all of them as train."""
    from datasets import concatenate_datasets

    if declared.split.by == "fraction":
        return {"train": concatenate_datasets([*tables.values()])}
    found = {split: next((name for name in names if name in tables), None) for split, names in GIVEN.items()}
    if found["validation"] == found["test"]:
        del found["validation"]
    for split in ("train", "test"):
        if found[split] is None:
            raise UserError(
                f"{declared.path}: no split {split!r}; there are {', '.join(tables)}; "
                "`split: {by: fraction, test: 0.2}` takes a share of all"
            )
    return {split: tables[name] for split, name in found.items() if name is not None}


def labels_of(table: Any, declared: HuggingFace) -> np.ndarray:
    """The label of each example, as text: (N,)."""
    column = columns(table, declared)[1]
    names = getattr(table.features[column], "names", None)
    return np.array([str(names[value] if names else value) for value in table[column][:]])


def columns(table: Any, declared: HuggingFace) -> tuple[str, str]:
    """The names of the columns of examples and of labels."""
    wanted = {"image": "Image", "audio": "Audio"}[declared.modality]
    kinds = {name: type(feature).__name__ for name, feature in table.features.items()}
    examples = [name for name, kind in kinds.items() if kind == wanted]
    labels = [name for name, kind in kinds.items() if kind == "ClassLabel"] or [n for n in LABELS if n in kinds]
    if not examples or not labels:
        shown = ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
        raise UserError(f"{declared.path}: no column of {wanted if not examples else 'labels'}; there are {shown}")
    return examples[0], labels[0]


def _part(table: Any, declared: HuggingFace, reading: Reading, split: str, bad: list[str]) -> Split:
    from datasets import Audio, Image

    examples, _ = columns(table, declared)
    labels = labels_of(table, declared)
    table = table.cast_column(examples, (Image if declared.modality == "image" else Audio)(decode=False))
    contents = ((f"{split}[{at}]", table[at][examples]) for at in reading.progress(range(len(table))))
    x, kept, columns_ = (_images if declared.modality == "image" else _sounds)(contents, len(table), declared, bad)
    return Split(x, labels[kept], columns_)


def _images(contents: Any, count: int, declared: HuggingFace, bad: list[str]) -> tuple[np.ndarray, list[int], dict]:
    assert declared.size is not None and declared.channels is not None
    x = on_disk((count, declared.size, declared.size, declared.channels))
    kept: list[int] = []
    for at, (shown, content) in enumerate(contents):
        try:
            x[len(kept)] = read_picture(io.BytesIO(_bytes(content)), declared.size, shown, declared.channels)
            kept.append(at)
        except (UserError, OSError) as error:
            bad.append(str(error))
    return x[: len(kept)], kept, {}


def _sounds(contents: Any, count: int, declared: HuggingFace, bad: list[str]) -> tuple[np.ndarray, list[int], dict]:
    clips, kept = [], []
    for at, (shown, content) in enumerate(contents):
        try:
            clips.append(decode(_bytes(content)))
            kept.append(at)
        except (BadClip, OSError) as error:
            bad.append(f"{shown}: {error}")
    offsets = np.cumsum([0, *map(len, clips)], dtype=np.int64)
    return np.concatenate([np.zeros(0, np.int16), *clips]), kept, {"offsets": offsets}


def _bytes(content: dict[str, Any] | None) -> bytes:
    if not content:
        raise OSError("nothing in it")
    return content["bytes"] or Path(content["path"]).read_bytes()
