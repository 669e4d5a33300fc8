"""What lies at a path, seen in about two seconds: of what kind it is, how much of it, and what is wrong with it."""

import os
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from contrastbench.datasets import arrays, graph_folder, huggingface
from contrastbench.datasets.base import Split
from contrastbench.datasets.image_folder import find_pictures
from contrastbench.datasets.own import SPLITS, Reading
from contrastbench.datasets.own_files import Find
from contrastbench.datasets.sound_folder import find_sounds
from contrastbench.datasets.tu import COLUMNS, OPTIONAL
from contrastbench.errors import UserError
from contrastbench.params.base import from_plain
from contrastbench.params.data import DataParams
from contrastbench.params.declared import BY_KIND, GivenSplit

DATA = DataParams(validation_fraction=0.1)
MOST_SHOWN = 12  # classes, bad files
ENOUGH = 1000  # files by which a folder is known
ARRAYS = ("x", "y", "group")
GRAPH_ARRAYS = ("y", "offsets", "edges", "edge_offsets", "node_labels")


@dataclass(frozen=True)
class Seen:
    """What was seen.

    declared  the declaration that fits, as YAML has it
    modality  of what it declares
    labels    class numbers of each split
    lines     what to tell, a line each
    seconds   (n,) lengths of those sounds that were looked at
    """

    declared: dict[str, Any]
    modality: str
    labels: Mapping[str, np.ndarray]
    lines: list[str]
    seconds: np.ndarray = field(default_factory=lambda: np.zeros(0))


def kind_of(path: Path) -> str:
    """The kind of what lies at ``path``; a UserError where it is none, nothing, or an empty folder."""
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; a data set of the hub: --kind huggingface")
    if path.suffix.lower() == ".npz":
        return "npz"
    if not path.is_dir():
        raise UserError(f"{path}: no folder, and no file of np.savez (.npz)")
    if graph_folder.is_graph_folder(path):
        return "graph-folder"
    if any((path / name).is_file() for name in huggingface.SAVED):
        return "huggingface"
    pictures, sounds = _some(path, find_pictures), _some(path, find_sounds)
    if not pictures and not sounds:
        suffixes = Counter(Path(name).suffix or "none" for _, _, names in os.walk(path) for name in names)
        shown = ", ".join(f"{suffix} {count}" for suffix, count in suffixes.most_common(MOST_SHOWN))
        others = f" that can be read; suffixes: {shown}" if shown else ""
        raise UserError(f"{path}: {'no' if shown else 'an empty folder: no'} picture, sound or graph in it{others}")
    return "image-folder" if pictures >= sounds else "sound-folder"


def _some(path: Path, find: Find) -> int:
    # Splits and classes may be links to folders (own_files.py), which `os.walk` does not follow.
    linked = (folder for folder in chain(path.glob("*/"), path.glob("*/*/")) if folder.is_symlink())
    walked = (inside for top in chain([path], linked) for inside, _, _ in os.walk(top))
    files = (file for inside in walked for file in find(Path(inside)).paths)
    return sum(1 for _ in islice(files, ENOUGH))


def survey(path: Path, kind: str) -> Seen:
    """What is to be said of the data at ``path``; a UserError where they cannot be read as data of two classes."""
    if kind == "npz":
        return _arrays(path)
    if kind == "huggingface":
        return _tables(path)
    if kind == "graph-folder":
        return _graph_folder(path)
    from contrastbench.datasets.survey_files import survey_folder

    return survey_folder(path, kind)


def _arrays(path: Path) -> Seen:
    found = arrays.load_arrays(path)
    shapes = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in found.items())
    plain: dict[str, Any] = {"kind": "npz", "path": str(path)}
    if "offsets" in found:
        what = f"graphs; {shapes}{_not_read(found.keys() - {*GRAPH_ARRAYS})}"
        return _read(plain | {"modality": "graph"}, "graph", path, what, "node_labels" in found)
    given = "x_train" in found
    name = "x_train" if given else "x"
    x = arrays.images_of(path, name, arrays.named(path, found, name), None)
    split = {"by": "given"} if given else {"by": "fraction", "test": 0.2}
    endings = arrays.endings_of(found, from_plain(GivenSplit, split)).values()
    what = f"images; {shapes}{_not_read(found.keys() - {f'{n}{ending}' for n in ARRAYS for ending in endings})}"
    return _read(plain | {"channels": x.shape[3], "split": split}, "image", path, what)


def _graph_folder(path: Path) -> Seen:
    read = {f"{path.name}_{kind}.txt" for kind in (*COLUMNS, *OPTIONAL)}
    names = {file.name for file in path.iterdir() if not file.name.startswith(".")}
    what = f"graphs{_not_read(names - read)}"
    plain = {"kind": "graph-folder", "path": str(path)}
    return _read(plain, "graph", path, what, f"{path.name}_node_labels.txt" in names)


def _not_read(names: Collection[str]) -> str:
    return f"; not read: {', '.join(sorted(names)[:MOST_SHOWN])}" if names else ""


def _read(plain: dict[str, Any], modality: str, path: Path, what: str, has_labels: bool = False) -> Seen:
    """What reading all of it tells, where that takes no longer than to look at it."""
    labels: dict[str, np.ndarray] = {}
    declared = from_plain(BY_KIND[plain["kind"]], plain)
    reader = arrays if plain["kind"] == "npz" else graph_folder
    own = reader.read(Reading("", path, DATA, progress=iter, check=labels.update), declared)  # type: ignore[arg-type]
    counts = dict.fromkeys(own.classes, 0)
    for y in (np.asarray(split.y) for split in own.splits.values()):
        for number, count in zip(*np.unique(y, return_counts=True), strict=True):
            counts[own.classes[number]] += int(count)
    told = [f"LEAK: {line}" for line in own.told]
    if modality == "graph":
        told.append(_sizes(own.splits["train"], has_labels))
    return Seen(plain, modality, labels, [f"{path}: {what}", counted(counts, labels), *told])


def _sizes(graphs: Split, has_labels: bool) -> str:
    """How large ``graphs`` are, and what labels their nodes have."""
    nodes, edges = np.diff(graphs.columns["offsets"]), np.diff(graphs.columns["edge_offsets"]) // 2
    labels = f"{len(np.unique(graphs.x))} labels" if has_labels else "no labels, their degrees are taken"
    return (
        f"{nodes.min()} to {nodes.max()} nodes, half of the graphs up to {np.median(nodes):g}; {edges.min()} to "
        f"{edges.max()} edges; nodes have {labels}"
    )


def _tables(path: Path) -> Seen:
    plain: dict[str, Any] = {"kind": "huggingface", "path": str(path), "modality": "image"}
    whole = from_plain(
        BY_KIND["huggingface"], plain | {"size": 64, "channels": 3, "split": {"by": "fraction", "test": 0.2}}
    )
    splits = huggingface.splits_of(path, whole)  # type: ignore[arg-type]
    kinds = {type(feature).__name__ for table in splits.values() for feature in table.features.values()}
    modality = "image" if "Image" in kinds else "audio"
    given = "train" in splits and len(splits) > 1
    plain |= {"modality": modality} | ({"size": 64, "channels": 3} if modality == "image" else {})
    plain |= {"split": {"by": "given"} if given else {"by": "fraction", "test": 0.2}}
    declared = from_plain(BY_KIND["huggingface"], plain)
    tables = huggingface.chosen(splits, declared)  # type: ignore[arg-type]
    texts = {split: huggingface.labels_of(table, declared) for split, table in tables.items()}  # type: ignore[arg-type]
    names = np.unique(np.concatenate([*texts.values()]))
    numbers = {split: np.searchsorted(names, of) for split, of in texts.items()}
    if "test" not in numbers:
        numbers["test"] = numbers["train"][::5]
    if "validation" not in numbers:
        numbers["validation"] = numbers["train"][::10]
    counts = {str(name): sum(int((of == name).sum()) for of in texts.values()) for name in names}
    shown = ", ".join(f"{split} {len(table)}" for split, table in splits.items())
    return Seen(plain, modality, numbers, [f"{path}: {modality}; {shown}", counted(counts, {})])


def counted(counts: Mapping[str, int], labels: Mapping[str, np.ndarray]) -> str:
    """How many examples there are of each class and in each split, in a line."""
    shown = ", ".join(f"{name} {count}" for name, count in [*counts.items()][:MOST_SHOWN])
    more = f", ... ({min(counts.values())} to {max(counts.values())} each)" if len(counts) > MOST_SHOWN else ""
    splits = ", ".join(f"{split} {len(labels[split])}" for split in SPLITS if split in labels)
    return f"{len(counts)} classes: {shown}{more}" + (f"; {splits}" if splits else "")
