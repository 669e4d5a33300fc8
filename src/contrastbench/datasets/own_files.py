"""A folder of the user's own files: which of them are of which class, split and group."""

import csv
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from contrastbench.datasets.base import Split
from contrastbench.datasets.copies import merged, same_files, twins
from contrastbench.datasets.found import Found
from contrastbench.datasets.own import SPLITS, Own, Reading, refuse_bad
from contrastbench.datasets.store import carve_validation
from contrastbench.errors import UserError
from contrastbench.params.declared import FileFolder, SplitRule

FOLDERS = {"train": ("train", "training"), "validation": ("validation", "val", "valid"), "test": ("test", "testing")}
FEWEST = 3  # files of a class: one for each split
Find = Callable[[Path], Found]  # of a folder, the files of one kind
# Of some files the array of examples, its columns, and why which of them are bad: then the arrays are not looked at.
Read = tuple[np.ndarray, dict[str, np.ndarray], dict[Path, str]]
Listed = tuple[list["File"], list[str], str]  # files, what is left out, the rule in words


@dataclass(frozen=True)
class File:
    """One file of a class. ``name`` is its path below the data's folder, ``below`` that below the folder of its class.

    ``split`` is "" until it is known. ``group`` names what stays together; None where each file is for itself.
    """

    path: Path
    name: str
    below: str
    label: str
    split: str = ""
    group: str | None = None


@dataclass(frozen=True)
class Listing:
    """What a folder holds, as its declaration says: files of classes, and "PATH: reason" of all that is left out."""

    files: tuple[File, ...]
    others: tuple[str, ...]
    rule: str

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in order: class i is the i-th."""
        return tuple(sorted({file.label for file in self.files}))

    def of(self, split: str) -> list[File]:
        """The files of one split."""
        return [file for file in self.files if file.split == split]


def list_folder(
    root: Path,
    declared: FileFolder,
    find: Find,
    validation: float,
    copies: Callable[[Sequence[Path]], list[list[int]]] | None = None,
    bad: Mapping[Path, str] | None = None,
) -> Listing:
    """The files of ``root`` that ``find`` takes for such in a folder, with classes, groups and splits.

    ``validation`` is the share of train that becomes validation where no folder or table says one. No file is decoded;
    those of equal size are compared, so that copies of one file stay in one split. A UserError of one line where there
    are not two classes at least with a file for each split, and where a group stands in two splits. Files known to be
    ``bad`` are left out, for the reason given.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder" if not root.exists() else f"{root}: no folder")
    files, others, rule = _RULES[declared.split.by](root, declared.split, find)
    _check_names([*(file.name for file in files), *others])
    others += [reason for path, reason in (bad or {}).items()]
    files = [file for file in files if file.path not in (bad or {})]
    if not files:
        suffixes = f"; {len(others)} other files, such as {others[0]}" if others else ""
        raise UserError(f"{root}: an empty folder: no file of the kind {declared.kind} in it{suffixes}")
    files = _grouped(files, declared.group)
    labels = Counter(file.label for file in files)
    if len(labels) < 2:
        raise UserError(f"{root}: a folder with one class, {files[0].label!r}; {_more_classes(root, files[0].label)}")
    _check_groups(root, files)
    units = merged(
        [file.name if file.group is None else file.group for file in files],
        (copies or same_files)([file.path for file in files]),
    )
    if declared.split.by == "fraction":
        share = declared.split.test
        assert share is not None
        few = min(labels, key=labels.__getitem__)
        if labels[few] < FEWEST:
            raise UserError(f"{root}: class {few!r} has {labels[few]} files; {FEWEST} are needed, one for each split")
        files = _carve(files, units, "test", share)
        rule = f"test: {share:.0%} of each class by the sha256 of {_unit_name(files)}"
    if not any(file.split == "validation" for file in files):
        files = _carve(files, units, "validation", validation)
        rule += f"; validation: {validation:.0%} of train by the sha256 of {_unit_name(files)}"
    for split in ("train", "test"):
        missing = sorted({*labels} - {file.label for file in files if file.split == split})
        if missing:
            differ = len({unit for file, unit in zip(files, units, strict=True) if file.label == missing[0]})
            few = f", which has {differ} to divide: copies and groups stay in one split" if differ < FEWEST else ""
            raise UserError(f"{root}: {split} has no file of the class {missing[0]!r}{few}")
    if not any(file.split == "validation" for file in files):
        raise UserError(f"{root}: validation has no file: train has one group of each class; it takes two at least")
    return Listing(tuple(files), tuple(others), rule)


def _check_names(names: Sequence[str]) -> None:
    """A UserError where a name is not in UTF-8: it could be neither shown nor written."""
    for name in names:
        content = name.encode(errors="surrogateescape")
        shown = content.decode(errors="backslashreplace")
        if shown.encode() != content:
            raise UserError(f"{shown}: a name that is not in UTF-8; rename it, for instance with convmv")


def walk(folder: Path, find: Find) -> Found:
    """What ``find`` finds in ``folder`` and in the folders below it, at any depth; those of hidden names are passed."""
    paths, others = [], []
    for inside, folders, _ in os.walk(folder):
        found = find(Path(inside))
        folders[:] = sorted(name for name in folders if not _is_hidden(name) and not Path(inside, name).is_symlink())
        paths += found.paths
        others += _but_folders(found, Path(inside), folders)
    return Found(paths, others)


def _but_folders(found: Found, folder: Path, names: Sequence[str]) -> list[str]:
    """What else was found in ``folder`` than its folders ``names``, which are read as well."""
    read = tuple(f"{folder / name}: " for name in names)
    return [told for told in found.others if not told.startswith(read)]


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _folders_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not _is_hidden(path.name))


def _by_fraction(root: Path, rule: SplitRule, find: Find) -> Listed:
    names, splits = _folders_in(root), {*sum(FOLDERS.values(), ())}
    if names and all(splits & {*re.split(r"[^a-z]+", name.lower())} for name in names):  # training_set, test_set
        rename = "" if {name.lower() for name in names} <= splits else "name them train and test, and "
        raise UserError(f"{root}: its folders are {' and '.join(names)}; {rename}`split: {{by: folders}}` goes by them")
    return *_in_classes(root, find, root), ""


def _in_classes(folder: Path, find: Find, root: Path, split: str = "") -> tuple[list[File], list[str]]:
    """The files of ``folder/CLASS/...``, named from ``root``, and what lies beside the classes' folders."""
    names = _folders_in(folder)
    beside = find(folder)
    if not names and beside.paths:
        raise UserError(
            f"{folder}: {len(beside.paths)} files, but no folders of classes; sort them into {folder}/CLASS/, "
            "or name them in a table: `split: {by: csv, file: ...}`"
        )
    others = [f"{path}: beside the folders of the classes" for path in beside.paths]
    others += _but_folders(beside, folder, names)
    files = []
    for name in names:
        found = walk(folder / name, find)
        files += [
            File(path, path.relative_to(root).as_posix(), path.relative_to(folder / name).as_posix(), name, split)
            for path in found.paths
        ]
        others += found.others if found.paths else [f"{folder / name}: no file of this kind in it", *found.others]
    return files, others


def _by_folders(root: Path, rule: SplitRule, find: Find) -> Listed:
    there = {name.lower(): name for name in _folders_in(root)}
    chosen = {split: there.pop(name) for split, names in FOLDERS.items() for name in names if name in there}
    if "test" not in chosen and "validation" in chosen:  # as ImageNet's
        chosen["test"] = chosen.pop("validation")
    for split in ("train", "test"):
        if split not in chosen:
            raise UserError(
                f"{root}: no folder {split!r}; there are {', '.join(there.values()) or 'none'}; "
                "`split: {by: fraction, test: 0.2}` takes a share of each class for test"
            )
    files: list[File] = []
    others = [f"{root / name}: neither train, validation nor test" for name in there.values()]
    for split, name in chosen.items():
        found, left_out = _in_classes(root / name, find, root, split)
        files += found
        others += left_out
    return files, others, ", ".join(f"{split}: the folder {name}" for split, name in chosen.items())


def _by_table(root: Path, rule: SplitRule, find: Find) -> Listed:
    assert rule.file is not None
    table = root / rule.file
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            delimiter = delimiter_of(stream.readline())
            stream.seek(0)
            lines = list(csv.DictReader(stream, delimiter=delimiter, skipinitialspace=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    columns = [*lines[0]] if lines else []
    for column in ("file", "split"):
        if column not in columns:
            raise UserError(f"{table}: no column {column!r}; its first line must name them: file,split[,label][,group]")
    splits = {name: split for split, names in FOLDERS.items() for name in names}
    files: list[File] = []
    for number, line in enumerate(lines, 2):
        name, given = (line["file"] or "").strip().replace("\\", "/"), (line["split"] or "").strip().lower()
        label = (line.get("label") or "").strip() or (Path(name).parts[0] if len(Path(name).parts) > 1 else "")
        if given not in splits:
            raise UserError(f"{table}, line {number}: split {given!r}; must be train, validation or test")
        if not name or not label:
            raise UserError(f"{table}, line {number}: no {'label' if name else 'file'}; give it, or CLASS/FILE")
        group = (line.get("group") or "").strip() or None
        parts = Path(name).parts
        below = "/".join(parts[parts.index(label) + 1 :] if label in parts[:-1] else parts)
        files.append(File(root / name, Path(name).as_posix(), below, label, splits[given], group))
    twice = [name for name, count in Counter(file.name for file in files).items() if count > 1]
    if twice:
        raise UserError(f"{table}: {twice[0]} stands in it twice")
    listed = {file.path for file in files}
    found = walk(root, find)
    others = [f"{path}: not in {table.name}" for path in found.paths if path not in listed]
    others += [told for told in found.others if not told.startswith(f"{table}: ")]
    return files, others, f"as {table.name} says"


def delimiter_of(header: str) -> str:
    """What parts the columns of a table with such a first line; spreadsheets of many countries write semicolons."""
    return next((mark for mark in ";\t" if mark in header), ",")


_RULES = {"folders": _by_folders, "fraction": _by_fraction, "csv": _by_table}


def _grouped(files: Sequence[File], pattern: str | None) -> list[File]:
    """``files`` with the groups that a table or the ``pattern`` says; one without is a group of its own."""
    if pattern is not None:
        return [replace(file, group=file.group or _group(file, pattern)) for file in files]
    has_groups = any(file.group is not None for file in files)
    return [replace(file, group=file.group or file.name) for file in files] if has_groups else [*files]


def _group(file: File, pattern: str) -> str:
    found = re.search(pattern, file.below)
    group = found and (found[1] if found.re.groups else found[0])
    if not group:
        raise UserError(f"{file.path}: {pattern!r}, by which files are grouped, finds nothing in {file.below!r}")
    return group


def _more_classes(root: Path, label: str) -> str:
    below = _folders_in(root / label) if (root / label).is_dir() else []
    if len(below) > 1:
        return f"its folders, {below[0]}, {below[1]}, ..., would be the classes of path: {root / label}"
    return "two folders of classes are needed"


def _carve(files: list[File], units: Sequence[str], split: str, share: float) -> list[File]:
    """``files`` with a ``share`` of those of train, or of no split yet, in ``split``, as `carve_validation` has it."""
    open_ = [position for position, file in enumerate(files) if file.split in ("", "train")]
    labels = np.unique([files[position].label for position in open_], return_inverse=True)[1]
    group = np.array([units[position] for position in open_])
    _, chosen = carve_validation(Split(np.array(open_), labels, {"group": group}), share)
    taken = {*chosen.x.tolist()}
    return [replace(file, split=split if at in taken else file.split or "train") for at, file in enumerate(files)]


def _unit_name(files: Sequence[File]) -> str:
    return "files' names" if files[0].group is None else "groups' names"


def _check_groups(root: Path, files: Sequence[File]) -> None:
    """A UserError where a group stands in two given splits."""
    groups = {split: {file.group for file in files if file.split == split} - {None} for split in SPLITS}
    for one, other in combinations(SPLITS, 2):
        shared = sorted(map(str, groups[one] & groups[other]))
        if shared:
            raise UserError(
                f"{root}: {one} and {other} share {len(shared)} groups, which belong into one split as a whole; the "
                f"first is {shared[0]!r}"
            )


def read_files(
    reading: Reading, declared: FileFolder, modality: str, find: Find, read: Callable[[Sequence[File]], Read]
) -> Own:
    """The data set of a folder's files, each split of which ``read`` reads.

    Bad files are refused, or skipped: then all is split, and read, anew without them.
    """
    bad: dict[Path, str] = {}
    while True:
        share = reading.params.validation_fraction
        listing = list_folder(reading.path, declared, find, share, bad=bad)
        reading.check({split: columns_of(listing.of(split), listing)[0] for split in SPLITS})
        splits: dict[str, Split] = {}
        found: dict[Path, str] = {}
        for split in SPLITS:
            files = listing.of(split)
            x, columns, reasons = read(files)
            y, groups = columns_of(files, listing)
            splits[split] = Split(x, y, columns | groups, listing.others if split == "train" else ())
            found |= reasons
        if not found:
            break
        refuse_bad(reading.name, [*found.values()], len(listing.files), declared.on_bad_file)
        bad |= found
    names = {split: [file.name for file in listing.of(split)] for split in SPLITS}
    source = f"{declared.kind} {declared.path}"
    return Own(reading.name, modality, listing.classes, source, listing.rule, splits, tuple(twins(splits, names)))


def columns_of(files: Sequence[File], listing: Listing) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Class numbers (N,) of ``files``, and the column ``group`` where the data have groups."""
    classes = {label: number for number, label in enumerate(listing.classes)}
    y = np.array([classes[file.label] for file in files], np.int64)
    groups = group_numbers(listing.files)
    return y, {"group": np.array([groups[file.group or ""] for file in files], np.int64)} if groups else {}


def group_numbers(files: Sequence[File]) -> dict[str, int]:
    """A number for each group."""
    names = {file.group for file in files if file.group is not None}
    return {name: number for number, name in enumerate(sorted(names))}
