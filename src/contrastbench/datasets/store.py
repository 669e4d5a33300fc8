"""The array store: what ``prepare`` writes and everything else reads, memory-mapped."""

import hashlib
import json
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from contrastbench.datasets.base import Adapter, Split
from contrastbench.errors import UserError
from contrastbench.files import file_hash, replacing

ROWS_AT_ONCE = 1024


class ArrayFacts(BaseModel):
    """Shape, type and sha256 (of the whole file) of one ``SPLIT_NAME.npy``."""

    model_config = ConfigDict(frozen=True)

    shape: list[int]
    dtype: str
    sha256: str


class SplitFacts(BaseModel):
    """How many examples a split has, and its arrays: ``x``, ``y`` where it is labelled, and further columns."""

    model_config = ConfigDict(frozen=True)

    count: int
    arrays: dict[str, ArrayFacts]


class Meta(BaseModel):
    """What ``meta.json`` says of a prepared data set; ``hash`` is the data_hash of result rows."""

    model_config = ConfigDict(frozen=True)

    name: str
    modality: str
    classes: list[str]
    splits: dict[str, SplitFacts]
    source: str
    licence: str
    split_rule: str
    hash: str


class Prepared:
    """A prepared data set, opened without reading it into memory."""

    def __init__(self, folder: Path, meta: Meta) -> None:
        self.folder = folder
        self.meta = meta

    def x(self, split: str) -> np.ndarray:
        """The examples of a split, memory-mapped and read-only."""
        return self.column(split, "x")

    def y(self, split: str) -> np.ndarray | None:
        """Class numbers (N,) int64, or None for an unlabeled split."""
        return self.column(split, "y") if "y" in self._facts(split).arrays else None

    def column(self, split: str, name: str) -> np.ndarray:
        """One array of a split, memory-mapped; missing or not what ``meta.json`` says is a UserError."""
        arrays = self._facts(split).arrays
        if name not in arrays:
            raise UserError(f"{self.folder}: split {split!r} has no column {name!r}; there are {', '.join(arrays)}")
        path = _array_path(self.folder, split, name)
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"{path}: missing or corrupt ({error}); {_again(self.folder)}") from None
        found, expected = (list(array.shape), str(array.dtype)), (arrays[name].shape, arrays[name].dtype)
        if found != expected:
            raise UserError(f"{path}: holds {found}, meta.json says {expected}; {_again(self.folder)}")
        return array

    def _facts(self, split: str) -> SplitFacts:
        if split not in self.meta.splits:
            raise UserError(f"{self.folder}: no split {split!r}; there are {', '.join(self.meta.splits)}")
        return self.meta.splits[split]


def open_prepared(folder: Path) -> Prepared:
    """Open what :func:`write_prepared` left in ``folder``; missing or corrupt data is a UserError.

    Compares every array's shape and type with ``meta.json``, which reads no more than the files' first bytes;
    :func:`verify_prepared` compares the contents.
    """
    path = folder / "meta.json"
    if not path.is_file():
        raise UserError(f"{path}: no such file; {_again(folder)}")
    try:
        meta = Meta.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError):
        raise UserError(f"{path}: corrupt; {_again(folder)}") from None
    prepared = Prepared(folder, meta)
    for split, facts in meta.splits.items():
        for name in facts.arrays:
            prepared.column(split, name)
    return prepared


def verify_prepared(prepared: Prepared) -> None:
    """Compare every array's sha256 with ``meta.json``; a difference is a UserError."""
    for split, facts in prepared.meta.splits.items():
        for name, array in facts.arrays.items():
            path = _array_path(prepared.folder, split, name)
            if file_hash(path) != array.sha256:
                raise UserError(f"{path}: changed since it was prepared; {_again(prepared.folder)}")


def write_prepared(folder: Path, adapter: Adapter, splits: dict[str, Split], split_rule: str) -> Meta:
    """Write the arrays of all ``splits`` and ``meta.json`` into ``folder``, as a whole or not at all."""
    with replacing(folder) as temporary:
        temporary.mkdir()
        facts = {split: _write_split(temporary, split, data) for split, data in splits.items()}
        content = {"classes": adapter.classes, "splits": {split: f.model_dump() for split, f in facts.items()}}
        meta = Meta(
            name=adapter.name,
            modality=adapter.modality,
            classes=list(adapter.classes),
            splits=facts,
            source=adapter.source,
            licence=adapter.licence,
            split_rule=split_rule,
            hash=hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12],
        )
        (temporary / "meta.json").write_text(meta.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return meta


def _write_split(folder: Path, name: str, split: Split) -> SplitFacts:
    labels = {} if split.y is None else {"y": split.y.astype(np.int64)}
    facts = {}
    for column, array in {"x": split.x, **labels, **split.columns}.items():
        path = _array_path(folder, name, column)
        _write_array(path, array)
        facts[column] = ArrayFacts(shape=list(array.shape), dtype=str(array.dtype), sha256=file_hash(path))
    return SplitFacts(count=split.count, arrays=facts)


def _write_array(path: Path, array: np.ndarray) -> None:
    """``np.save`` of a row-major copy, made piece by piece: STL-10 is read transposed and fills 2.6 GiB."""
    header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(array), ROWS_AT_ONCE):
            file.write(np.ascontiguousarray(array[start : start + ROWS_AT_ONCE]).data)


def _array_path(folder: Path, split: str, name: str) -> Path:
    return folder / f"{split}_{name}.npy"


def _again(folder: Path) -> str:
    return f"run `contrastbench prepare {folder.name}`"


def carve_validation(train: Split, fraction: float) -> tuple[Split, Split]:
    """Split ``train`` into (train, validation), the same share of every class.

    An example goes by the order of the sha256 of its position, so that the choice is fixed for ever and
    does not hang on a library's random numbers. ``train`` must be labelled and hold one array row an example.
    """
    if train.y is None or "offsets" in train.columns:
        raise ValueError("a validation split can be carved out of labelled examples of one shape only")
    rank = np.array([hashlib.sha256(str(i).encode()).hexdigest() for i in range(train.count)])
    held_out = np.zeros(train.count, dtype=bool)
    for label in np.unique(train.y):
        members = np.flatnonzero(train.y == label)
        if len(members) < 2:
            raise UserError(f"class {label} has one training example: none would be left beside the validation split")
        count = max(1, round(fraction * len(members)))
        held_out[members[np.argsort(rank[members])[:count]]] = True
    return _select(train, ~held_out), _select(train, held_out)


def _select(split: Split, mask: np.ndarray) -> Split:
    assert split.y is not None
    return Split(split.x[mask], split.y[mask], {name: column[mask] for name, column in split.columns.items()})
