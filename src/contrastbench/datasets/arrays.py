"""Images, or graphs, of the user's own, in a file of ``np.savez``."""

import zipfile
from collections.abc import Collection
from pathlib import Path

import numpy as np

from contrastbench.datasets.base import Split
from contrastbench.datasets.graph_arrays import read_npz
from contrastbench.datasets.own import Own, Reading
from contrastbench.datasets.own_files import FOLDERS
from contrastbench.datasets.own_splits import read_own_splits
from contrastbench.datasets.tu import SPLIT_RULE
from contrastbench.errors import UserError
from contrastbench.files import reading as reading_file
from contrastbench.params.declared import Arrays, GivenSplit

LAYOUT = "x (N, H, W) or (N, H, W, C) and y (N,), or x_train, y_train, x_test, y_test"


def read(reading: Reading, declared: Arrays) -> Own:
    """The arrays of a file, as ``declared`` says; a UserError where they are missing, or not as they must be.

    x       (N, H, W) or (N, H, W, C), square: uint8, or floating-point values in [0, 1], which are scaled by 255
    y       (N,), labels: numbers, or texts; sorted, they are the classes
    group   (N,), what stays together in one split; optional

    ``given`` splits end in their name: x_train, y_train, x_test, y_test, and x_validation, x_val or x_valid where there
    are.
    Graphs: as :func:`contrastbench.datasets.graph_arrays.read_npz` has them.
    """
    arrays = load_arrays(reading.path)
    source = f"{declared.kind} {declared.path}"
    if declared.modality == "graph":
        classes = tuple(map(str, np.unique(named(reading.path, arrays, "y")).tolist()))
        reading.check({"train": arrays["y"]})
        return Own(reading.name, "graph", classes, source, SPLIT_RULE, read_npz(reading.path, classes))
    assert declared.split is not None and declared.channels is not None
    parts = parts_of(reading.path, arrays, declared)
    return read_own_splits(reading, "image", source, parts, declared.split)


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file of ``np.savez``, none of which may hold pickled objects."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; write it with np.savez")
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path}: no file of np.savez, or cut off; write it with np.savez")
    with reading_file(path, "file of np.savez", "write it anew, without objects"), np.load(path) as file:
        return {name: file[name] for name in file.files}


def parts_of(path: Path, arrays: dict[str, np.ndarray], declared: Arrays) -> dict[str, Split]:
    """Images, labels as they are, and groups of each split that is ``given``, or of ``train`` alone."""
    assert declared.split is not None
    parts = {}
    for split, ending in endings_of(arrays, declared.split).items():
        x = images_of(path, f"x{ending}", named(path, arrays, f"x{ending}"), declared.channels)
        columns = {name: arrays[f"{name}{ending}"] for name in ("group",) if f"{name}{ending}" in arrays}
        y = named(path, arrays, f"y{ending}")
        for name, array in {"y": y, **columns}.items():
            if array.shape != (len(x),) or array.dtype.kind not in "iuUS":
                wanted = f"({len(x)},), whole numbers or texts"
                raise UserError(f"{path}: {name}{ending} is {array.dtype} {array.shape}; it must be {wanted}")
        if y.dtype.kind == "S":
            y = np.char.decode(y, errors="replace")
        parts[split] = Split(x, y, columns)
    return parts


def endings_of(arrays: Collection[str], rule: GivenSplit) -> dict[str, str]:
    """How the names of those ``arrays`` end that are read for each split."""
    if rule.by == "fraction":
        return {"train": ""}
    validation = next((name for name in FOLDERS["validation"] if f"x_{name}" in arrays), None)
    return {"train": "_train", "test": "_test"} | ({"validation": f"_{validation}"} if validation else {})


def images_of(path: Path, name: str, x: np.ndarray, channels: int | None) -> np.ndarray:
    """The array ``name`` as uint8 (N, H, H, channels)."""
    x = x[..., None] if x.ndim == 3 else x
    if x.ndim != 4 or x.shape[1] != x.shape[2] or x.shape[3] not in (1, 3) or not len(x):
        raise UserError(f"{path}: {name} is {x.shape}; it must be (N, H, W) or (N, H, W, C), H = W, C 1 or 3")
    if channels not in (None, x.shape[3]):
        raise UserError(f"{path}: {name} has {x.shape[3]} channels, declared are {channels}")
    if x.dtype == np.uint8:
        return x
    if x.dtype.kind == "f" and x.min() >= 0 and x.max() <= 1:
        return np.round(x * 255).astype(np.uint8)
    found = f"{x.dtype}, {x.min():.4g} to {x.max():.4g}" if x.dtype.kind == "f" else x.dtype
    raise UserError(f"{path}: {name} is {found}; it must be uint8, or floating-point values in [0, 1]")


def named(path: Path, arrays: dict[str, np.ndarray], name: str) -> np.ndarray:
    """The array ``name`` of those of a file; a UserError that tells what the file holds where there is none."""
    if name not in arrays:
        raise UserError(f"{path}: no array {name}; there are {', '.join(arrays) or 'none'}; wanted: {LAYOUT}")
    return arrays[name]
