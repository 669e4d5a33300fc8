"""GraphCL's changes of graphs: what each keeps, how many it takes, and that each is drawn as it should be."""

from collections import Counter
from itertools import pairwise

import networkx as nx
import pytest
import torch
from graph_cases import apart, batch_of, numbered
from torch import Generator

from contrastbench.augment.graph_batch import GraphBatch
from contrastbench.augment.graphs import augment_graphs
from contrastbench.params.graphs import GraphAugmentParams

KINDS = ("nodes", "edges", "subgraph", "attributes")
DENSE = [nx.complete_graph(size) for size in (10, 25, 9, 40, 1)]
SPARSE = [nx.gnm_random_graph(size, size, seed=size) for size in range(8, 40)]


def augmented(graphs: GraphBatch, *kinds: str, seed: int = 0, **changes) -> GraphBatch:
    values = {"share": 0.1, "subgraph": 0.2, "walk": "connected", "added_edges": False} | changes
    return augment_graphs(graphs, GraphAugmentParams(kinds=kinds, **values), Generator().manual_seed(seed))


def kept(part) -> list[int]:
    """The numbers that the nodes of an augmented graph had before."""
    return part[0][:, 0].long().tolist()


def edges_of(part) -> list[tuple[int, int]]:
    """Its directed edges, by the numbers that nodes had before."""
    names = kept(part)
    return sorted((names[source], names[target]) for source, target in part[1].T.tolist())


def induced(part, nodes) -> list[tuple[int, int]]:
    return [edge for edge in edges_of(part) if set(edge) <= set(nodes)]


@pytest.mark.parametrize("share", [0.1, 0.35])
def test_exactly_the_share_of_the_nodes_is_dropped_with_their_edges(share):
    graphs = numbered(DENSE)
    for before, after in zip(apart(graphs), apart(augmented(graphs, "nodes", share=share)), strict=True):
        size = len(before[0])
        assert len(kept(after)) == size - int(share * size)
        assert kept(after) == sorted(kept(after))
        assert edges_of(after) == induced(before, kept(after))


def test_a_node_that_has_lost_its_edges_goes_too():
    graphs = numbered([nx.path_graph(10)] * 1000)
    expected = {  # by the node that is dropped
        tuple(node for node in range(10) if node != dropped and {node - 1, node + 1} - {-1, dropped, 10})
        for dropped in range(10)
    }
    found: Counter = Counter()
    for before, after in zip(apart(graphs), apart(augmented(graphs, "nodes")), strict=True):
        assert edges_of(after) == induced(before, kept(after))
        found[tuple(kept(after))] += 1
    assert set(found) == expected and len(expected) == 10
    assert all(count == pytest.approx(100, abs=5 * 100**0.5) for count in found.values())


def test_a_graph_that_has_lost_all_edges_keeps_its_nodes():
    graphs = numbered([nx.star_graph(9)] * 200 + [nx.empty_graph(20)])
    *stars, empty = apart(augmented(graphs, "nodes"))
    assert len(kept(empty)) == 18
    without_hub = [star for star in stars if 0 not in kept(star)]
    assert without_hub and all(len(kept(star)) == 9 and not edges_of(star) for star in without_hub)
    assert all(len(edges_of(star)) == 16 for star in stars if 0 in kept(star))


@pytest.mark.parametrize("share", [0.1, 0.35])
def test_exactly_the_share_of_directed_edges_is_removed(share):
    graphs = numbered(DENSE + SPARSE)
    for before, after in zip(apart(graphs), apart(augmented(graphs, "edges", share=share)), strict=True):
        assert kept(after) == kept(before)
        assert len(edges_of(after)) == len(edges_of(before)) - int(share * len(edges_of(before)))
        assert set(edges_of(after)) <= set(edges_of(before))
        assert len(set(edges_of(after))) == len(edges_of(after))


def test_added_edges_take_the_place_of_those_removed():
    graphs = numbered(DENSE + SPARSE + [nx.cycle_graph(6)] * 2000)
    ends = Counter()
    for before, after in zip(apart(graphs), apart(augmented(graphs, "edges", added_edges=True)), strict=True):
        assert kept(after) == kept(before)
        new = Counter(edges_of(after)) - Counter(edges_of(before))
        assert len(edges_of(after)) == len(edges_of(before))
        assert new.total() <= int(0.1 * len(edges_of(before)))
        if len(kept(before)) == 6:
            ends.update(new.keys())
    assert len(ends) == 36 and all(count == pytest.approx(2000 / 36, abs=5 * 56**0.5) for count in ends.values())


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_a_walk_is_connected_and_of_exactly_the_size(share):
    trees = [nx.random_labeled_tree(size, seed=size) for size in range(5, 45)]
    islands = nx.disjoint_union_all([nx.path_graph(3)] * 10)
    graphs = numbered([*trees, *DENSE, nx.path_graph(620), islands])
    parts = apart(augmented(graphs, "subgraph", subgraph=share))
    for before, after in zip(apart(graphs), parts, strict=True):
        size = len(before[0])
        wanted = 1 + int(share * size)
        assert len(kept(after)) == (3 if size == 30 and len(before[1].T) == 40 else wanted)
        assert edges_of(after) == induced(before, kept(after))
        walk = nx.Graph(edges_of(after))
        walk.add_nodes_from(kept(after))
        assert nx.is_connected(walk)


def test_the_published_walk_never_leaves_the_neighbourhood_of_its_start():
    graphs = numbered([nx.path_graph(50), nx.star_graph(30), *SPARSE] * 20)
    for before, after in zip(apart(graphs), apart(augmented(graphs, "subgraph", walk="published")), strict=True):
        around = nx.Graph(edges_of(before))
        around.add_nodes_from(kept(before))
        more = int(0.2 * len(before[0]))
        assert edges_of(after) == induced(before, kept(after))
        assert any(
            set(kept(after)) <= {start, *around[start]} and len(kept(after)) == 1 + min(more, len(around[start]))
            for start in kept(after)
        )
    path, *_ = apart(augmented(numbered([nx.path_graph(50)]), "subgraph"))
    assert len(kept(path)) == 11  # where the published one would have three


def chances(graph: nx.Graph, more: int, walk: str) -> dict[tuple[int, ...], float]:
    """The probability of each walk's set of nodes, one step after another."""
    states = {(start, frozenset([start])): 1 / len(graph) for start in graph}
    for _ in range(more):
        grown: Counter = Counter()
        for (start, nodes), chance in states.items():
            sources = nodes if walk == "connected" else {start}
            candidates = {neighbour for node in sources for neighbour in graph[node]} - nodes
            for node in candidates:
                grown[start, nodes | {node}] += chance / len(candidates)
            if not candidates:
                grown[start, nodes] += chance
        states = grown
    found: Counter = Counter()
    for (_, nodes), chance in states.items():
        found[tuple(sorted(nodes))] += chance
    return found


@pytest.mark.parametrize(("walk", "more"), [("connected", 3), ("published", 2)])
def test_each_walk_is_as_likely_as_one_that_goes_step_by_step(walk, more):
    """Over all sets of nodes at once, by their chi-square: a walk that prefers hubs, or near nodes, would be found."""
    graph = nx.empty_graph(9)
    graph.add_edges_from([(0, 1), (0, 2), (0, 3), (2, 3), (3, 4), (4, 5), (5, 6), (4, 6), (1, 7), (7, 8)])
    expected, draws = chances(graph, more, walk), 4000
    after = augmented(numbered([graph] * draws), "subgraph", subgraph=(more + 0.1) / 9, walk=walk)
    found = Counter(tuple(kept(part)) for part in apart(after))
    assert set(found) <= set(expected) and len(expected) > 8
    distance = sum((found[nodes] - draws * chance) ** 2 / (draws * chance) for nodes, chance in expected.items())
    freedom = len(expected) - 1
    assert distance < freedom + 5 * (2 * freedom) ** 0.5


def test_masked_nodes_have_random_features_and_all_else_stays():
    sizes = (10, 25, 9, 2000)
    parts = [(torch.full((size, 3), 7.0), torch.randint(size, (2, 2 * size))) for size in sizes]
    graphs = batch_of(parts)
    after = augmented(graphs, "attributes")
    assert torch.equal(after.edge_index, graphs.edge_index) and torch.equal(after.batch, graphs.batch)
    changed = [(part[0] != 7).all(dim=1) for part in apart(after)]
    assert [int(part.sum()) for part in changed] == [1, 2, 0, 200]
    values = apart(after)[-1][0][changed[-1]]
    assert values.mean().item() == pytest.approx(0.5, abs=5 * 0.5 / 600**0.5)
    assert values.std().item() == pytest.approx(0.5, abs=5 * 0.5 / 1200**0.5)
    assert ((after.x == 7).all(dim=1) | (after.x != 7).all(dim=1)).all()
    assert (graphs.x == 7).all()


@pytest.mark.parametrize("kinds", [KINDS, ("subgraph", "attributes"), ("nodes",)])
def test_kinds_are_drawn_evenly_for_each_graph(kinds):
    graphs = numbered([nx.complete_graph(10)] * 2000)
    signature = {(9, 72): "nodes", (10, 81): "edges", (3, 6): "subgraph", (10, 90): "attributes"}
    drawn = [signature[len(x), len(edges.T)] for x, edges in apart(augmented(graphs, *kinds))]
    assert set(drawn) == set(kinds)
    share = 1 / len(kinds)
    bound = 5 * (2000 * share * (1 - share)) ** 0.5
    assert all(count == pytest.approx(2000 * share, abs=bound) for count in Counter(drawn).values())
    changes = sum(first != second for first, second in pairwise(drawn))
    assert changes == pytest.approx(1999 * (1 - share), abs=bound)  # graph by graph, not batch by batch


def same(first: GraphBatch, second: GraphBatch) -> bool:
    names = ("x", "edge_index", "batch")
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in names)


def test_the_state_of_the_generator_decides_everything():
    graphs = numbered(SPARSE)
    torch.manual_seed(0)
    first = augmented(graphs, *KINDS, seed=3, added_edges=True)
    torch.manual_seed(1)
    assert same(first, augmented(graphs, *KINDS, seed=3, added_edges=True))
    assert not same(first, augmented(graphs, *KINDS, seed=4, added_edges=True))


def test_of_the_other_graphs_only_their_sizes_count():
    """One generator serves the batch, so that other graphs shift the draws, but by their sizes alone."""
    graphs = numbered(SPARSE)
    other = nx.gnm_random_graph(8, 8, seed=99)
    changed = numbered([other, *SPARSE[1:]])
    assert not torch.equal(changed.edge_index, graphs.edge_index)
    results = [apart(augmented(batch, *KINDS)) for batch in (graphs, changed)]
    for first, second in zip(*(parts[1:] for parts in results), strict=True):
        assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("walk", ["connected", "published"])
def test_graphs_with_few_nodes_or_none(kind, walk):
    x = torch.ones(1, 2)
    none = torch.zeros(2, 0, dtype=torch.int64)
    cases = [[(x, none)], [(x[:0], none)], [(x[:0], none), (x, none), (x.repeat(2, 1), none), (x[:0], none)]]
    for parts in cases:
        graphs = batch_of(parts)
        after = augmented(graphs, kind, walk=walk, added_edges=True)
        sizes = [1 if kind == "subgraph" and len(x) else len(x) for x, _ in parts]
        assert [len(x) for x, _ in apart(after)] == sizes
        assert after.num_graphs == len(parts) and after.edge_index.shape == (2, 0)
