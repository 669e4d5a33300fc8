"""Graphs as they are stored, and read by their positions."""

from dataclasses import dataclass

import numpy as np

from contrastbench.datasets.store import Prepared


@dataclass(frozen=True)
class PackedGraphs:
    """Some graphs as one whose parts are not connected: B graphs with n nodes and E directed edges.

    labels  (n,) int64 node labels, 0 to ``kinds`` - 1
    edges   (2, E) int64, nodes numbered through all graphs
    graph   (n,) int64, which graph a node belongs to
    count   B
    kinds   number of node labels that the data set has
    """

    labels: np.ndarray
    edges: np.ndarray
    graph: np.ndarray
    count: int
    kinds: int


class StoredGraphs:
    """The graphs of one split: memory-mapped node labels and edges, and where each graph's begin.

    labels        (n,) int32 node labels
    offsets       (N + 1,) int64, where each graph's nodes begin in ``labels``
    edges         (E, 2) int32, nodes numbered within their graph
    edge_offsets  (N + 1,) int64, where each graph's edges begin in ``edges``
    """

    def __init__(self, labels: np.ndarray, offsets: np.ndarray, edges: np.ndarray, edge_offsets: np.ndarray) -> None:
        self.labels, self.offsets, self.edges, self.edge_offsets = labels, offsets, edges, edge_offsets
        self.kinds = int(labels.max()) + 1

    @classmethod
    def of(cls, data: Prepared, split: str) -> "StoredGraphs":
        """The graphs of a split of prepared data."""
        return cls(data.x(split), *(data.column(split, name) for name in ("offsets", "edges", "edge_offsets")))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: np.ndarray) -> PackedGraphs:
        """The graphs at positions ``index`` (B,), in that order."""
        nodes, graph = _runs(self.offsets, index)
        edges, of_graph = _runs(self.edge_offsets, index)
        first = np.concatenate([[0], np.cumsum(np.diff(self.offsets)[index])[:-1]]) if len(index) else index
        numbered = np.asarray(self.edges)[edges].astype(np.int64) + first[of_graph, None]
        labels = np.asarray(self.labels)[nodes].astype(np.int64)
        return PackedGraphs(labels, np.ascontiguousarray(numbered.T), graph, len(index), self.kinds)


def _runs(offsets: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of all that belongs to the graphs ``index``, one graph after another, and which graph each is of."""
    length = np.diff(offsets)[index]
    of = np.repeat(np.arange(len(index)), length)
    begins = np.concatenate([[0], np.cumsum(length)[:-1]]) if len(index) else length
    return np.arange(length.sum()) + (np.asarray(offsets)[index] - begins)[of], of
