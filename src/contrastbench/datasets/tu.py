"""Graphs in the layout of the TU Dortmund collection: published sets, or a user's own."""

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from contrastbench.datasets.base import Adapter, Archive, Split
from contrastbench.datasets.graph_arrays import graphs_split
from contrastbench.errors import UserError
from contrastbench.files import reading

COLUMNS = {"A": 2, "graph_indicator": 1, "graph_labels": 1}  # whole numbers per line of NAME_KIND.txt
OPTIONAL = {"node_labels": 1}
SPLIT_RULE = "none published: all graphs are train, and are judged in folds"
LICENCE = "no explicit licence; free for research, cite Morris et al. (2020)"


def published(
    name: str, folder: str, classes: tuple[str, ...], *, nodes: str, md5: Mapping[str, str], constant: bool = False
) -> Adapter:
    """The adapter of a set of the collection, where it is called ``folder``; ``nodes`` says what labels nodes have."""
    return Adapter(
        name=name,
        modality="graph",
        classes=classes,
        licence=LICENCE,
        source=f"https://chrsmrrs.github.io/datasets ({folder}), nodes: {nodes}",
        split_rule=SPLIT_RULE,
        read=lambda raw, _: read_tu(raw / folder, classes, md5=md5, constant=constant),
        # No hash of the archive is published: the reader checks files in it.
        archives=(Archive(f"https://www.chrsmrrs.com/graphkerneldatasets/{folder}.zip", f"{folder}.zip"),),
        unpacked=(folder,),
    )


def read_tu(
    folder: Path, classes: tuple[str, ...], *, md5: Mapping[str, str] | None = None, constant: bool = False
) -> dict[str, Split]:
    """The graphs of ``folder``, or of the zip of that name beside it; with the folder's name for NAME, it holds

    NAME_A.txt                edges, the two nodes of each, numbered from 1 through all graphs
    NAME_graph_indicator.txt  the graph of each node, numbered from 1, in order
    NAME_graph_labels.txt     the label of each graph; the i-th smallest is class i of ``classes``
    NAME_node_labels.txt      the label of each node; where there is no such file it is the node's degree

    and other files, which are not read. ``constant`` gives all nodes the same label; ``md5`` holds what the files must
    be, by KIND ("A", ...): of a published set, all that there are. Files that are missing, not of numbers, or
    contradict each other are a UserError, and so is what :func:`graphs_split` refuses, which also says what becomes of
    edges.
    """
    where, contents = _contents(folder)
    for kind in (*COLUMNS, *(md5 or {})):
        if kind not in contents:
            raise UserError(f"{where}_{kind}.txt: no such file")
    for kind, digest in (md5 or {}).items():
        found = hashlib.md5(contents[kind], usedforsecurity=False).hexdigest()
        if found != digest:
            raise UserError(
                f"{where}_{kind}.txt: wrong file (md5 {found}, published {digest}); delete it and fetch again"
            )
    tables = {
        kind: _table(f"{where}_{kind}.txt", contents[kind], columns)
        for kind, columns in {**COLUMNS, **OPTIONAL}.items()
        if kind in contents
    }
    ends, graph, y = tables["A"] - 1, tables["graph_indicator"][:, 0] - 1, tables["graph_labels"][:, 0]
    _check_indicator(f"{where}_graph_indicator.txt", graph, len(y))
    outside = (ends.min(axis=1) < 0) | (ends.max(axis=1) >= len(graph))
    _refuse(f"{where}_A.txt", outside, f"a node that does not exist; nodes are 1 to {len(graph)}")
    _refuse(f"{where}_A.txt", np.ptp(graph[ends], axis=1) > 0, "an edge between two graphs")
    labels = tables["node_labels"][:, 0] if "node_labels" in tables else None
    if labels is not None and len(labels) != len(graph):
        raise UserError(
            f"{where}_node_labels.txt: {len(labels)} lines, but {len(graph)} in {where}_graph_indicator.txt"
        )
    labels = np.zeros_like(graph) if constant else labels
    return {"train": graphs_split(f"{where}_graph_labels.txt", classes, y, graph, ends, labels)}


def graph_labels(folder: Path) -> np.ndarray:
    """The label of each graph, (N,), as :func:`read_tu` finds it; missing or no numbers is a UserError."""
    where, contents = _contents(folder)
    if "graph_labels" not in contents:
        raise UserError(f"{where}_graph_labels.txt: no such file")
    return _table(f"{where}_graph_labels.txt", contents["graph_labels"], COLUMNS["graph_labels"])[:, 0]


def _contents(folder: Path) -> tuple[Path, dict[str, bytes]]:
    """How the names of the files begin, and the bytes of those that are read, by kind."""
    name, archive = folder.name, folder.with_name(f"{folder.name}.zip")
    kinds = {f"{name}_{kind}.txt": kind for kind in (*COLUMNS, *OPTIONAL)}
    if folder.is_dir():
        where = folder / name
        files = [path.name for path in folder.iterdir()]
        contents = {kinds[file]: (folder / file).read_bytes() for file in files if file in kinds}
    elif archive.is_file():
        where = archive / name
        with (
            reading(archive, "zip archive", f"it must hold {name}_A.txt and others"),
            zipfile.ZipFile(archive) as zipped,
        ):
            named = [(Path(member).name, member) for member in zipped.namelist()]
            files = [file for file, _ in named]
            contents = {kinds[file]: zipped.read(member) for file, member in named if file in kinds}
    else:
        raise UserError(f"{folder}: no such folder, nor {archive.name} beside it; it must hold {name}_A.txt and others")
    misspelt = next((file for file in files if "node_label" in file.lower() and file not in kinds), None)
    if misspelt:  # else its nodes would have degrees for labels, and nobody would be told
        raise UserError(f"{where.parent / misspelt}: a file of node labels is called {name}_node_labels.txt; rename it")
    return where, contents


def _table(where: str, content: bytes, columns: int) -> np.ndarray:
    """The numbers of a file, (lines, ``columns``) int64."""
    if not content.strip():
        raise UserError(f"{where}: empty")
    expected = f"expected {columns} whole number{'s, with a comma between,' if columns > 1 else ''} per line"
    with reading(Path(where), "table", expected):
        table = np.loadtxt(io.BytesIO(content), np.int64, comments=None, delimiter=",", ndmin=2)
    if table.shape[1] != columns:
        raise UserError(f"{where}: {table.shape[1]} numbers per line; {expected}")
    return table


def _check_indicator(where: str, graph: np.ndarray, count: int) -> None:
    """Refuse a (n,) ``graph`` that does not hold 0 to ``count`` - 1, each at least once, in order."""
    _refuse(where, (graph < 0) | (graph >= count), f"a graph that has no label; graphs are 1 to {count}")
    _refuse(where, np.diff(graph, prepend=0) < 0, "a smaller number than in the line above; sort nodes by graph")
    without = np.flatnonzero(np.bincount(graph, minlength=count) == 0)
    if len(without):
        raise UserError(f"{where}: graph {without[0] + 1} has a label, but no node")


def _refuse(where: str, wrong: np.ndarray, what: str) -> None:
    if wrong.any():
        raise UserError(f"{where}, line {wrong.argmax() + 1}: {what}")
