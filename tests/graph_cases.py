"""Small graphs for tests."""

from collections.abc import Sequence

import networkx as nx
import torch
from torch import Tensor

from contrastbench.augment.graph_batch import GraphBatch

Part = tuple[Tensor, Tensor]  # x (n, F) and edges (2, E), numbered within the graph


def batch_of(parts: Sequence[Part]) -> GraphBatch:
    """Graphs as one batch."""
    sizes = torch.tensor([len(x) for x, _ in parts])
    begins = (sizes.cumsum(0) - sizes).tolist()
    edges = torch.cat([edges + begin for (_, edges), begin in zip(parts, begins, strict=True)], dim=1)
    batch = torch.arange(len(parts)).repeat_interleave(sizes)
    return GraphBatch(torch.cat([x for x, _ in parts]), edges, batch, len(parts))


def apart(graphs: GraphBatch) -> list[Part]:
    """The graphs of a batch; an edge between two of them is an AssertionError."""
    assert bool((graphs.batch.diff() >= 0).all())
    source, target = graphs.batch[graphs.edge_index]
    assert torch.equal(source, target)
    sizes, edges = (torch.bincount(group, minlength=graphs.num_graphs) for group in (graphs.batch, source))
    order = source.argsort(stable=True)
    numbers = (graphs.edge_index - (sizes.cumsum(0) - sizes)[source])[:, order]
    return list(zip(graphs.x.split(sizes.tolist()), numbers.split(edges.tolist(), dim=1), strict=True))


def random_graphs(count: int, features: int, seed: int) -> GraphBatch:
    """Graphs of 3 to 12 nodes with random directed edges, some of them twice or from a node to itself, in float64."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for size in torch.randint(3, 13, (count,), generator=generator).tolist():
        x = torch.randn(size, features, generator=generator, dtype=torch.float64)
        parts.append((x, torch.randint(size, (2, 3 * size), generator=generator)))
    return batch_of(parts)


def numbered(graphs: Sequence[nx.Graph]) -> GraphBatch:
    """Undirected graphs, each edge in both directions; a node's one feature is its number within its graph."""
    parts = []
    for graph in graphs:
        ends = torch.tensor(list(graph.edges), dtype=torch.int64).reshape(-1, 2).T
        parts.append((torch.arange(len(graph.nodes)).unsqueeze(1).float(), torch.cat([ends, ends.flip(0)], dim=1)))
    return batch_of(parts)
