"""What an adapter's ``read`` returned is what ``base.Split`` says, so that nothing else is stored."""

from typing import Any

import numpy as np

from contrastbench.datasets.base import Split
from contrastbench.errors import UserError

EXPECTED = {
    "image": "uint8 (N, H, W, C) with 1 or 3 channels",
    "audio": "int16 (all samples), with N + 1 rising positions in the column `offsets`",
}


def check_returned(name: str, modality: str, classes: int, splits: Any) -> None:
    """Refuse what ``read`` of the data set ``name`` returned, unless it is splits of so many classes (a UserError)."""
    if not isinstance(splits, dict) or not all(isinstance(split, Split) for split in splits.values()):
        raise UserError(f"{name}: read must return a dict of Split(x, y), by the names of the splits")
    if "train" not in splits:
        raise UserError(f"{name}: read returned no split 'train', but {', '.join(map(str, splits)) or 'none'}")
    for split, data in splits.items():
        if modality in EXPECTED and not _HOLDS[modality](data):
            found = f"{data.x.dtype} {data.x.shape}" if isinstance(data.x, np.ndarray) else type(data.x).__name__
            raise UserError(f"{name}: {split}: x is {found}; expected {EXPECTED[modality]}")
        if data.y is not None and (wrong := _labels(data, classes)):
            raise UserError(f"{name}: {split}: y {wrong}")


def _pictures(data: Split) -> bool:
    x = data.x
    return isinstance(x, np.ndarray) and x.dtype == np.uint8 and x.ndim == 4 and x.shape[3] in (1, 3) and x.size > 0


def _sound(data: Split) -> bool:
    x, offsets = data.x, np.asarray(data.columns.get("offsets", ()))
    whole = offsets.ndim == 1 and len(offsets) > 1 and offsets[0] == 0 and offsets[-1] == len(x)
    return (
        isinstance(x, np.ndarray)
        and x.dtype == np.int16
        and x.ndim == 1
        and whole
        and bool(np.all(np.diff(offsets) > 0))
    )


_HOLDS = {"image": _pictures, "audio": _sound}


def _labels(data: Split, classes: int) -> str:
    """What is wrong with a split's class numbers; nothing where they are right."""
    y = data.y
    if not isinstance(y, np.ndarray) or y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
        return f"is {f'{y.dtype} {y.shape}' if isinstance(y, np.ndarray) else type(y).__name__}; expected integers (N,)"
    if len(y) != data.count:
        return f"has {len(y)} labels of {data.count} examples"
    if y.min() < 0 or y.max() >= classes:
        return f"has labels from {y.min()} to {y.max()}; expected 0 to {classes - 1}, the places in `classes`"
    return ""
