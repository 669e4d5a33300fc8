"""What an adapter says, and what its ``read`` returned, is as ``base`` has it, so that nothing else is stored."""

from typing import Any

import numpy as np

from contrastbench.datasets.base import Adapter, Split
from contrastbench.errors import UserError
from contrastbench.registry import hint

EXPECTED = {
    "image": "uint8 (N, H, W, C) with 1 or 3 channels, N at least 1",
    "audio": "int16 (all samples), with N + 1 rising positions in the column `offsets`",
    "graph": "int32 (all nodes) with the columns that read_npz and read_tu make (datasets/graph_arrays.py)",
}
JUDGED = ("train", "validation", "test")
KNOWN = (*JUDGED, "unlabeled")
TEXTS = ("name", "licence", "source", "split_rule")


def check_adapter(source: Adapter) -> None:
    """Refuse an adapter of which a text, the classes or ``read`` is something else (a UserError)."""
    for field in TEXTS:
        if not isinstance(value := getattr(source, field), str):
            raise UserError(f"{source.name}: {field} is {type(value).__name__}; expected a text")
    classes = source.classes
    if not isinstance(classes, tuple | list) or not all(isinstance(each, str) for each in classes):
        raise UserError(f"{source.name}: classes = {classes!r}; expected a tuple of texts")
    if len({*classes}) < len(classes):
        raise UserError(
            f"{source.name}: classes names {next(each for each in classes if classes.count(each) > 1)!r} twice"
        )
    if not callable(source.read):
        raise UserError(f"{source.name}: read is {type(source.read).__name__}; expected a function of (raw, params)")


def check_returned(name: str, modality: str, classes: int, splits: Any) -> None:
    """Refuse what ``read`` of the data set ``name`` returned, unless it is splits of so many classes (a UserError)."""
    if not isinstance(splits, dict) or not all(isinstance(split, Split) for split in splits.values()):
        raise UserError(f"{name}: read must return a dict of Split(x, y), by the names of the splits")
    if unknown := [split for split in splits if split not in KNOWN]:
        raise UserError(f"{name}: read returned an unknown split {unknown[0]!r}; {hint(str(unknown[0]), KNOWN)}")
    for split, data in splits.items():
        if wrong := _examples(data, modality) or _columns(data) or _labels(data, classes):
            raise UserError(f"{name}: {split}: {wrong}")
    _check_together(name, modality, {split: data for split, data in splits.items() if split in JUDGED})


def _check_together(name: str, modality: str, splits: dict[str, Split]) -> None:
    """Refuse splits that do not fit each other, or of which one is missing."""
    for split in ("train",) if modality == "graph" else ("train", "test"):
        if split not in splits:
            raise UserError(f"{name}: read returned no split {split!r}, but {', '.join(splits) or 'none'}")
    train = splits["train"]
    for split, data in splits.items():
        if (data.y is None) != (train.y is None):
            raise UserError(f"{name}: {split} has {'no ' if data.y is None else ''}labels, unlike train")
        if modality == "image" and data.x.shape[1:] != train.x.shape[1:]:
            raise UserError(f"{name}: {split} has pictures {data.x.shape[1:]}, and train {train.x.shape[1:]}")
    if train.y is None and "validation" not in splits:
        raise UserError(f"{name}: read returned no split 'validation', which labels of train would be needed to choose")
    if train.y is not None and len(np.unique(train.y)) < 2:
        raise UserError(f"{name}: train has examples of one class alone; two at least are needed")


def _examples(data: Split, modality: str) -> str:
    """What is wrong with a split's examples; nothing where they are right."""
    return "" if _HOLDS[modality](data) else f"x is {_shown(data.x)}; expected {EXPECTED[modality]}"


def _pictures(data: Split) -> bool:
    x = data.x
    return isinstance(x, np.ndarray) and x.dtype == np.uint8 and x.ndim == 4 and x.shape[3] in (1, 3) and x.size > 0


def _sound(data: Split) -> bool:
    return _one_after_another(data, np.int16)


def _graphs(data: Split) -> bool:
    edges, ends = (np.asarray(data.columns.get(name, ())) for name in ("edges", "edge_offsets"))
    if not _one_after_another(data, np.int32) or edges.dtype != np.int32 or edges.ndim != 2 or edges.shape[1] != 2:
        return False
    whole = ends.shape == (data.count + 1,) and ends[0] == 0 and ends[-1] == len(edges)
    if not whole or np.any(np.diff(ends) < 0) or data.x.min() < 0:
        return False
    sizes = np.repeat(np.diff(data.columns["offsets"]), np.diff(ends))
    return bool(np.all((edges >= 0) & (edges < sizes[:, None])))


def _one_after_another(data: Split, dtype: type) -> bool:
    """Whether ``x`` holds the parts of all examples in a row, and ``offsets`` says where each begins."""
    x, offsets = data.x, np.asarray(data.columns.get("offsets", ()))
    whole = offsets.ndim == 1 and len(offsets) > 1 and offsets[0] == 0 and offsets[-1] == len(x)
    right = isinstance(x, np.ndarray) and x.dtype == dtype and x.ndim == 1
    return right and whole and bool(np.all(np.diff(offsets) > 0))


_HOLDS = {"image": _pictures, "audio": _sound, "graph": _graphs}


def _columns(data: Split) -> str:
    """What is wrong with a split's further arrays."""
    for name, column in data.columns.items():
        if not isinstance(column, np.ndarray) or column.dtype == object:
            return f"the column {name!r} is {_shown(column)}; expected an array of numbers or texts"
        if name not in ("offsets", "edges", "edge_offsets") and column.shape[:1] != (data.count,):
            return f"the column {name!r} is {_shown(column)}; expected an entry for each of {data.count} examples"
    return ""


def _labels(data: Split, classes: int) -> str:
    """What is wrong with a split's class numbers, where it has any."""
    y = data.y
    if y is None:
        return ""
    if not isinstance(y, np.ndarray) or y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
        return f"y is {_shown(y)}; expected integers (N,)"
    if len(y) != data.count:
        return f"y has {len(y)} labels of {data.count} examples"
    if y.min() < 0 or y.max() >= classes:
        return f"y has labels from {y.min()} to {y.max()}; expected 0 to {classes - 1}, the places in `classes`"
    return ""


def _shown(value: Any) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
