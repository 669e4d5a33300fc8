"""Graphs as arrays: what a data set's graphs are made into, and a user's own from a file of ``np.savez``."""

import numpy as np

from contrastbench.datasets.base import Split
from contrastbench.errors import UserError


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
        raise UserError(f"{where}: all graphs have the label {found[0]}; at least two classes are needed")
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
    columns = {"offsets": offsets, "edges": edges.astype(np.int32), "edge_offsets": edge_offsets}
    return Split(labels.astype(np.int32), y, columns)
