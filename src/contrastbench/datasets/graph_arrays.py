"""Graphs as arrays: what a data set's graphs are made into, and a user's own from a file of ``np.savez``."""

from pathlib import Path

import numpy as np

from contrastbench.datasets.base import Split
from contrastbench.errors import UserError
from contrastbench.files import reading


def graphs_split(
    where: object,
    classes: tuple[str, ...],
    y: np.ndarray,
    graph: np.ndarray,
    ends: np.ndarray,
    labels: np.ndarray | None,
) -> Split:
    """All N graphs of a data set, with n nodes, as one split.

    y       (N,), any numbers: the i-th smallest is class i of ``classes``
    graph   (n,), which graph a node belongs to, in order; none is without nodes
    ends    (E, 2), the nodes that an edge joins, both of one graph, numbered through all graphs
    labels  (n,), any numbers: the i-th smallest is node label i. None: a node's label is its degree

    Edges have neither direction nor multiplicity: each is stored in both directions, once, and none leads from a node
    to itself. Graphs of one class, or not of as many as ``classes``, are a UserError that names ``where``.
    """
    found, y = np.unique(y, return_inverse=True)
    if len(found) < 2:
        raise UserError(f"{where}: graphs of two classes at least are needed, found: {', '.join(map(str, found))}")
    if len(found) != len(classes):
        raise UserError(
            f"{where}: {len(found)} classes ({', '.join(map(str, found))}), "
            f"but the adapter names {len(classes)}: {', '.join(classes)}"
        )
    nodes = len(graph)
    ends = ends[ends[:, 0] != ends[:, 1]].astype(np.int64)
    keys = np.unique([ends @ (nodes, 1), ends @ (1, nodes)])  # from * nodes + to: sorted by graph, as nodes are
    sources, targets = np.divmod(keys, nodes)
    if labels is None:
        labels = np.bincount(sources, minlength=nodes)
    else:
        labels = np.unique(labels, return_inverse=True)[1]
    offsets, edge_offsets = (np.searchsorted(of, np.arange(len(y) + 1)) for of in (graph, graph[sources]))
    edges = np.stack([sources, targets], axis=1) - offsets[graph[sources], None]
    columns: dict[str, np.ndarray] = {"offsets": offsets, "edges": edges.astype(np.int32), "edge_offsets": edge_offsets}
    return Split(labels.astype(np.int32), y, columns)


def read_npz(path: Path, classes: tuple[str, ...]) -> dict[str, Split]:
    """N graphs of arrays of whole numbers, written by ``np.savez``:

    y             (N,), the label of each graph; the i-th smallest is class i of ``classes``
    offsets       (N + 1,), where each graph's nodes begin: 0, ..., n
    edges         (E, 2), the two nodes of each edge, numbered from 0 within their graph
    edge_offsets  (N + 1,), where each graph's edges begin: 0, ..., E
    node_labels   (n,), the label of each node; where there is no such array it is the node's degree

    Arrays that are missing, not of whole numbers, or contradict each other are a UserError, and so is what
    :func:`graphs_split` refuses, which also says what becomes of edges.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; write it with np.savez")
    with reading(path, "file of np.savez", "write it anew"), np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    y = _whole(path, arrays, "y", None)
    offsets, edge_offsets = (_whole(path, arrays, name, len(y) + 1) for name in ("offsets", "edge_offsets"))
    edges = _whole(path, arrays, "edges", None, 2)
    labels = _whole(path, arrays, "node_labels", int(offsets[-1])) if "node_labels" in arrays else None
    sizes, counts = np.diff(offsets), np.diff(edge_offsets)
    if offsets[0] != 0 or (sizes < 1).any():
        raise UserError(f"{path}: offsets must begin with 0 and increase, as every graph has a node")
    if edge_offsets[0] != 0 or (counts < 0).any() or edge_offsets[-1] != len(edges):
        raise UserError(f"{path}: edge_offsets must begin with 0, never decrease, and end with {len(edges)}, all edges")
    graph, of = np.repeat(np.arange(len(y)), sizes), np.repeat(np.arange(len(y)), counts)
    outside = (edges.min(axis=1) < 0) | (edges.max(axis=1) >= sizes[of])
    if outside.any():
        first = outside.argmax()
        raise UserError(f"{path}: edges[{first}] joins nodes {edges[first].tolist()} of a graph of {sizes[of[first]]}")
    return {"train": graphs_split(path, classes, y, graph, edges + offsets[of, None], labels)}


def _whole(path: Path, arrays: dict[str, np.ndarray], name: str, *shape: int | None) -> np.ndarray:
    """The array ``name`` as int64, of a ``shape`` in which None stands for any length."""
    wanted = f"whole numbers ({', '.join('any' if length is None else str(length) for length in shape)})"
    if name not in arrays:
        raise UserError(f"{path}: no array {name}; it must be {wanted}")
    array = arrays[name]
    fits = array.ndim == len(shape) and all(want in (None, is_) for want, is_ in zip(shape, array.shape, strict=True))
    if array.dtype.kind not in "iu" or not fits:
        raise UserError(f"{path}: {name} is {array.dtype} {array.shape}; it must be {wanted}")
    return array.astype(np.int64)
