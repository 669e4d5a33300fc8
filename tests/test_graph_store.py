"""Stored graphs, read by their positions, are what a loop over the graphs puts together."""

import numpy as np
import pytest
from audio_sets import about

from contrastbench.datasets.base import Split
from contrastbench.datasets.graph_store import PackedGraphs, StoredGraphs
from contrastbench.datasets.store import open_prepared, write_prepared
from contrastbench.modalities.graphs import Graphs

# Per graph its node labels and edges: a path, two nodes without an edge, one node, a triangle.
GRAPHS = [
    ([0, 1, 0], [(0, 1), (1, 0), (1, 2), (2, 1)]),
    ([2, 2], []),
    ([3], []),
    ([1, 1, 4], [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]),
]


def stored(graphs: list) -> StoredGraphs:
    labels = np.concatenate([nodes for nodes, _ in graphs]).astype(np.int32)
    edges = np.array([edge for _, of_one in graphs for edge in of_one], np.int32).reshape(-1, 2)
    offsets, edge_offsets = (np.cumsum([0, *(len(graph[part]) for graph in graphs)]) for part in (0, 1))
    return StoredGraphs(labels, offsets, edges, edge_offsets)


def looped(graphs: list, index: list[int]) -> tuple[list, list, list]:
    labels, edges, graph = [], [], []
    for place, position in enumerate(index):
        nodes, of_one = graphs[position]
        edges += [(len(labels) + a, len(labels) + b) for a, b in of_one]
        labels += nodes
        graph += [place] * len(nodes)
    return labels, edges, graph


def check(packed: PackedGraphs, graphs: list, index: list[int]) -> None:
    labels, edges, graph = looped(graphs, index)
    assert packed.labels.tolist() == labels and packed.graph.tolist() == graph
    assert packed.edges.shape == (2, len(edges)) and packed.edges.T.tolist() == [list(edge) for edge in edges]
    assert packed.count == len(index)
    assert {array.dtype for array in (packed.labels, packed.edges, packed.graph)} == {np.dtype(np.int64)}
    assert packed.edges.flags.c_contiguous


@pytest.mark.parametrize("index", [[0, 1, 2, 3], [3, 0], [2], [1, 2], [1, 3, 3, 0, 1], []])
def test_in_the_order_asked_for(index):
    check(stored(GRAPHS)[np.array(index, np.int64)], GRAPHS, index)


def test_many_graphs():
    rng = np.random.default_rng(0)
    graphs = []
    for size in rng.integers(1, 8, 50):
        edges = rng.integers(0, size, (rng.integers(0, 12), 2))
        graphs.append((rng.integers(0, 5, size).tolist(), [tuple(edge) for edge in edges.tolist()]))
    index = rng.permutation(50)[:20]
    check(stored(graphs)[index], graphs, index.tolist())


def test_graphs_without_any_edge():
    check(stored(GRAPHS[1:3])[np.array([1, 0])], GRAPHS[1:3], [1, 0])


def test_kinds_are_of_all_graphs_however_few_are_read():
    graphs = stored(GRAPHS)
    assert graphs.kinds == 5 and len(graphs) == 4
    assert graphs[np.array([2])].kinds == 5


def test_positions():
    graphs = stored(GRAPHS)
    check(graphs[np.array([-1, -4])], GRAPHS, [3, 0])
    check(graphs[np.array([True, False, True, False])], GRAPHS, [0, 2])
    with pytest.raises(IndexError):
        graphs[np.array([4])]


def test_counts_of_labels_and_of_degrees_are_those_of_a_loop(tmp_path):
    """What the row `histogram` sees."""
    graphs = stored(GRAPHS)
    split = Split(
        graphs.labels,
        np.arange(len(GRAPHS)) % 2,
        {"offsets": graphs.offsets, "edges": graphs.edges, "edge_offsets": graphs.edge_offsets},
    )
    write_prepared(tmp_path / "made", about("made", "graph", ("a", "b")), {"train": split}, "as made")
    expected = np.zeros((len(GRAPHS), 5 + 3))  # labels 0 to 4, degrees 0 to 2
    for number, (nodes, edges) in enumerate(GRAPHS):
        for node, label in enumerate(nodes):
            expected[number, label] += 1
            expected[number, 5 + sum(start == node for start, _ in edges)] += 1
    assert np.array_equal(Graphs().reference_features(open_prepared(tmp_path / "made"), "train"), expected)
