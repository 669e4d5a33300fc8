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
        # As plain arrays, still memory-mapped: every operation on a np.memmap takes microseconds more.
        self.labels, self.offsets, self.edges, self.edge_offsets = map(
            np.asarray, (labels, offsets, edges, edge_offsets)
        )
        self.kinds = int(labels.max()) + 1

    @classmethod
    def of(cls, data: Prepared, split: str) -> "StoredGraphs":
        """The graphs of a split of prepared data."""
        return cls(data.x(split), *(data.column(split, name) for name in ("offsets", "edges", "edge_offsets")))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: np.ndarray) -> PackedGraphs:
        """The graphs at positions ``index`` (B,), in that order; one that is no position is an IndexError."""
        index = np.arange(len(self))[index]
        nodes, graph, first = _runs(self.offsets, index)
        edges, of, _ = _runs(self.edge_offsets, index)
        numbered = np.add(self.edges.take(edges, axis=0).T, first[of], order="C")
        return PackedGraphs(self.labels[nodes].astype(np.int64), numbered, graph, len(index), self.kinds)


def _runs(offsets: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The n positions of all that belongs to the B graphs ``index``, one graph after another.

    And the place in ``index`` of the graph that each is of (n,), and where each graph's begin among the n (B,).
    """
    length = offsets[index + 1] - offsets[index]
    of = np.repeat(np.arange(len(index)), length)
    first = np.cumsum(length) - length
    return np.arange(len(of)) + (offsets[index] - first)[of], of, first
