"""The Weisfeiler-Lehman subtree kernel (Shervashidze et al., 2011), by GraKeL."""

from collections.abc import Iterator

import numpy as np

from contrastbench.datasets.graph_store import StoredGraphs


def wl_kernel(graphs: StoredGraphs, iterations: int) -> np.ndarray:
    """The normalised kernel (N, N) float64 of all pairs of graphs.

    In each iteration a node's label becomes its own with those of its neighbours; a graph is the histogram of its
    nodes' labels at the beginning and after each of ``iterations``.
    """
    from grakel import Graph  # takes a second to import, and one reference row alone needs it
    from grakel.kernels import VertexHistogram, WeisfeilerLehman

    kernel = WeisfeilerLehman(n_iter=iterations, base_graph_kernel=VertexHistogram, normalize=True)
    return kernel.fit_transform([Graph(*each, graph_format="dictionary") for each in _plain(graphs)])


def _plain(graphs: StoredGraphs) -> Iterator[tuple[dict[int, list[int]], dict[int, int]]]:
    """Neighbours and label of every node of each graph."""
    for number in range(len(graphs)):
        graph = graphs[np.array([number])]
        neighbours: dict[int, list[int]] = {node: [] for node in range(len(graph.labels))}
        for node, other in graph.edges.T.tolist():
            neighbours[node].append(other)
        yield neighbours, dict(enumerate(graph.labels.tolist()))
