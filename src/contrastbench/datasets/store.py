"""The array store: what ``prepare`` writes and everything else reads, memory-mapped."""

import hashlib
import json
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from contrastbench.datasets.base import Adapter, Split
from contrastbench.errors import UserError
from contrastbench.files import file_hash, replacing


class Meta(BaseModel):
    """What ``meta.json`` says of a prepared data set; ``hash`` is the data_hash of result rows."""

    model_config = ConfigDict(frozen=True)

    name: str
    modality: str
    classes: list[str]
    splits: dict[str, dict]  # count, labelled, shape, sha256 of each array
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
        self._known(split)
        return self.column(split, "y") if self.meta.splits[split]["labelled"] else None

    def column(self, split: str, name: str) -> np.ndarray:
        """One array of a split."""
        self._known(split)
        path = self.folder / f"{split}_{name}.npy"
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: missing or corrupt ({error}); run `contrastbench prepare` again") from None

    def _known(self, split: str) -> None:
        if split not in self.meta.splits:
            raise UserError(f"{self.folder}: no split {split!r}; there are {', '.join(self.meta.splits)}")


def open_prepared(folder: Path) -> Prepared:
    """Open what :func:`write_prepared` left in ``folder``; missing or corrupt data is a UserError."""
    path = folder / "meta.json"
    if not path.is_file():
        raise UserError(f"{path}: no such file; run `contrastbench prepare {folder.name}` first")
    try:
        meta = Meta.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError):
        raise UserError(f"{path}: corrupt; run `contrastbench prepare {folder.name}` again") from None
    prepared = Prepared(folder, meta)
    for split, facts in meta.splits.items():
        shape = list(prepared.x(split).shape)
        if shape != facts["shape"]:
            raise UserError(f"{folder}/{split}_x.npy: shape {shape}, meta.json says {facts['shape']}; prepare again")
    return prepared


def verify_prepared(prepared: Prepared) -> None:
    """Compare every array's sha256 with ``meta.json``; a difference is a UserError."""
    for split, facts in prepared.meta.splits.items():
        for name, digest in facts["sha256"].items():
            path = prepared.folder / f"{split}_{name}.npy"
            if file_hash(path) != digest:
                raise UserError(f"{path}: changed since it was prepared; run `contrastbench prepare` again")


def write_prepared(folder: Path, adapter: Adapter, splits: dict[str, Split], split_rule: str) -> Meta:
    """Write the arrays of all ``splits`` and ``meta.json`` into ``folder``, as a whole or not at all."""
    facts: dict[str, dict] = {}
    with replacing(folder) as temporary:
        temporary.mkdir()
        for split, data in splits.items():
            arrays = {"x": data.x, **({} if data.y is None else {"y": data.y.astype(np.int64)}), **data.columns}
            digests = {}
            for name, array in arrays.items():
                path = temporary / f"{split}_{name}.npy"
                np.save(path, np.ascontiguousarray(array), allow_pickle=False)
                digests[name] = file_hash(path)
            count = len(data.columns["offsets"]) - 1 if "offsets" in data.columns else len(data.x)
            facts[split] = {
                "count": count,
                "labelled": data.y is not None,
                "shape": list(data.x.shape),
                "sha256": digests,
            }
        content = json.dumps({"classes": adapter.classes, "splits": facts}, sort_keys=True)
        meta = Meta(
            name=adapter.name,
            modality=adapter.modality,
            classes=list(adapter.classes),
            splits=facts,
            source=adapter.source,
            licence=adapter.licence,
            split_rule=split_rule,
            hash=hashlib.sha256(content.encode()).hexdigest()[:12],
        )
        (temporary / "meta.json").write_text(meta.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return meta


def carve_validation(train: Split, fraction: float) -> tuple[Split, Split]:
    """Split ``train`` into (train, validation), the same share of every class.

    An example goes by the order of the sha256 of its position, so that the choice is fixed for ever and
    does not hang on a library's random numbers.
    """
    assert train.y is not None
    rank = np.array([hashlib.sha256(str(i).encode()).hexdigest() for i in range(len(train.y))])
    held_out = np.zeros(len(train.y), dtype=bool)
    for label in np.unique(train.y):
        members = np.flatnonzero(train.y == label)
        count = max(1, round(fraction * len(members)))
        held_out[members[np.argsort(rank[members])[:count]]] = True
    return _select(train, ~held_out), _select(train, held_out)


def _select(split: Split, mask: np.ndarray) -> Split:
    assert split.y is not None
    return Split(split.x[mask], split.y[mask], {name: column[mask] for name, column in split.columns.items()})
