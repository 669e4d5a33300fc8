"""The array store: what ``prepare`` writes and everything else reads, memory-mapped."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from contrastbench.datasets.base import Split
from contrastbench.errors import UserError
from contrastbench.files import file_hash, replacing
from contrastbench.params.audio import FrontEndParams

BYTES_AT_ONCE = 1 << 24


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


class FrontEnd(BaseModel):
    """How spectrograms were made: segments of ``frames`` x ``mels``, normalised as (x - mean) / (2 std)."""

    model_config = ConfigDict(frozen=True)

    frames: int
    mels: int
    mean: float
    std: float


class Meta(BaseModel):
    """What ``meta.json`` says of a prepared data set.

    ``hash`` is the data_hash of result rows: the same on every machine. Of spectrograms it says what they were made
    from; ``Prepared.contents`` says which arrays lie here.
    ``skipped`` names the files that were left out, split by split; ``front_end`` is set for spectrograms.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    modality: str
    classes: list[str]
    splits: dict[str, SplitFacts]
    source: str
    licence: str
    split_rule: str
    hash: str
    skipped: dict[str, list[str]] = {}
    front_end: FrontEnd | None = None


class About(Protocol):
    """What is said of a data set: an adapter, or the ``Meta`` of the arrays that new ones are made from."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def modality(self) -> str: ...  # noqa: D102
    @property
    def classes(self) -> tuple[str, ...] | list[str]: ...  # noqa: D102
    @property
    def source(self) -> str: ...  # noqa: D102
    @property
    def licence(self) -> str: ...  # noqa: D102


class Prepared:
    """A prepared data set, opened without reading it into memory."""

    def __init__(self, folder: Path, meta: Meta) -> None:
        self.folder = folder
        self.meta = meta

    @property
    def contents(self) -> str:
        """Hash of the arrays to the last bit, for what may only go on with the very same ones: a killed training."""
        return contents_hash(self.meta.classes, self.meta.splits)

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


def data_hash(folder: Path) -> str | None:
    """The hash of the data prepared in ``folder``; None where there are none, or their ``meta.json`` is corrupt."""
    try:
        return Meta.model_validate_json((folder / "meta.json").read_text(encoding="utf-8")).hash
    except (OSError, ValidationError, UnicodeDecodeError):
        return None


def verify_prepared(prepared: Prepared) -> None:
    """Compare every array's sha256 with ``meta.json``; a difference is a UserError."""
    for split, facts in prepared.meta.splits.items():
        for name, array in facts.arrays.items():
            path = _array_path(prepared.folder, split, name)
            if file_hash(path) != array.sha256:
                raise UserError(f"{path}: changed since it was prepared; {_again(prepared.folder)}")


def contents_hash(classes: Sequence[str], splits: dict[str, SplitFacts]) -> str:
    """Twelve hexadecimal digits over the arrays of a data set, to the last bit, and the names of its classes."""
    return _hash({"classes": list(classes), "splits": {split: facts.model_dump() for split, facts in splits.items()}})


def spectrogram_hash(sound_hash: str, front_end: FrontEndParams) -> str:
    """The data_hash of the spectrograms that ``front_end`` makes of the sound with the hash ``sound_hash``.

    It is of what they are made from, because the last bits of the spectrograms themselves, and with them of mean and
    std where these are the training split's, are those of the processor and its libraries.
    """
    return _hash({"sound": sound_hash, "front_end": front_end.model_dump(mode="json")})


def _hash(content: dict) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def write_prepared(
    folder: Path,
    about: About,
    splits: dict[str, Split],
    split_rule: str,
    front_end: FrontEnd | None = None,
    data_hash: str | None = None,
) -> Meta:
    """Write the arrays of all ``splits`` and ``meta.json`` into ``folder``, as a whole or not at all.

    ``data_hash`` is given for arrays that are computed (:func:`spectrogram_hash`); else it is :func:`contents_hash`.
    """
    with replacing(folder) as temporary:
        temporary.mkdir()
        facts = {split: _write_split(temporary, split, data) for split, data in splits.items()}
        meta = Meta(
            name=about.name,
            modality=about.modality,
            classes=list(about.classes),
            splits=facts,
            source=about.source,
            licence=about.licence,
            split_rule=split_rule,
            hash=data_hash or contents_hash(about.classes, facts),
            skipped={name: list(split.skipped) for name, split in splits.items() if split.skipped},
            front_end=front_end,
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
        rows = max(1, BYTES_AT_ONCE * len(array) // max(1, array.nbytes))
        for start in range(0, len(array), rows):
            file.write(np.ascontiguousarray(array[start : start + rows]).data)


def _array_path(folder: Path, split: str, name: str) -> Path:
    return folder / f"{split}_{name}.npy"


def _again(folder: Path) -> str:
    """The command that makes ``data/prepared/DATASET`` or ``data/spectrograms/PRESET/TRACK/DATASET``."""
    kind, *where = folder.parts[-4:]
    if kind == "spectrograms":
        preset, track, name = where
        return f"run `contrastbench spectrograms {track} {name} --preset {preset}`"
    return f"run `contrastbench prepare {folder.name}`"


def carve_validation(train: Split, fraction: float) -> tuple[Split, Split]:
    """Split ``train`` into (train, validation), the same share of every class.

    An example goes by the order of the sha256 of its position, so that the choice is fixed for ever and
    does not depend on a library's random numbers. Where examples have a ``group`` (the recording, speaker or
    instrument they come from) whole groups go, by the sha256 of the group; a class keeps at least one.
    ``train`` must be labelled.
    """
    if train.y is None:
        raise ValueError("a validation split can be carved out of labelled examples only")
    group = train.columns.get("group", np.arange(train.count))
    rank = {unit: hashlib.sha256(str(unit).encode()).hexdigest() for unit in np.unique(group).tolist()}
    chosen: set[int] = set()
    for label in np.unique(train.y):
        units = sorted(np.unique(group[train.y == label]).tolist(), key=rank.__getitem__)
        if len(units) < 2 and "group" not in train.columns:
            raise UserError(f"class {label} has one training example: none would be left beside the validation split")
        # A group of several classes may have been chosen for another one already.
        missing = max(1, round(fraction * len(units))) - sum(unit in chosen for unit in units)
        open_units = [unit for unit in units if unit not in chosen][: len(units) - 1]
        chosen.update(open_units[: max(0, missing)])
    held_out = np.isin(group, sorted(chosen))
    return select(train, ~held_out), select(train, held_out)


def select(split: Split, mask: np.ndarray) -> Split:
    """The examples (N,) of ``split`` that the boolean ``mask`` keeps, clips of sound included."""
    columns = {name: column[mask] for name, column in split.columns.items() if name != "offsets"}
    if "offsets" in split.columns:
        start, stop = split.columns["offsets"][:-1][mask], split.columns["offsets"][1:][mask]
        x = np.concatenate([split.x[a:b] for a, b in zip(start, stop, strict=True)])
        columns["offsets"] = np.cumsum([0, *(stop - start)], dtype=np.int64)
    else:
        x = split.x[mask]
    return Split(x, None if split.y is None else split.y[mask], columns, split.skipped)
