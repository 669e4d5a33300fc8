"""GraphCL's random changes of graphs (specification of graphs, section 5), made to a whole batch at once.

How many nodes and edges are left follows from the draws: the host reads that, and an accelerator is waited for.
"""

import torch
from torch import Generator, Tensor

from contrastbench.augment.graph_batch import GraphBatch
from contrastbench.params.graphs import GraphAugmentParams


def augment_graphs(graphs: GraphBatch, params: GraphAugmentParams, generator: Generator) -> GraphBatch:
    """Each graph after one change, of a kind that is drawn for it; B graphs in the same order.

    nodes       floor(share * nodes) nodes go, with their edges
    edges       floor(share * edges) directed edges go or, with ``added_edges``, become random ones of the same graph
    subgraph    a random walk's nodes stay, with the edges between them: a start and floor(subgraph * nodes) more, or
                fewer where no more can be reached
    attributes  floor(share * nodes) nodes get features from N(0.5, 0.5)

    Of what ``nodes`` and ``subgraph`` leave of a graph, nodes without an edge go too, unless none has one.
    """
    x, edge_index, batch, count = graphs.x, graphs.edge_index, graphs.batch, graphs.num_graphs
    kind = torch.randint(len(params.kinds), (count,), generator=generator, device=x.device)
    drawn = {name: kind == number for number, name in enumerate(params.kinds)}
    of_edge = batch.index_select(0, edge_index[0])
    nodes, edges = (torch.bincount(group, minlength=count).double() for group in (batch, of_edge))

    keep = torch.ones_like(batch, dtype=torch.bool)
    if "nodes" in drawn:
        keep[_some(batch, (params.share * nodes).long() * drawn["nodes"], generator)] = False
    if "subgraph" in drawn:
        keep &= ~drawn["subgraph"][batch]
        more = (params.subgraph * nodes).long()
        keep[_walk(graphs, drawn["subgraph"], more, params.walk == "connected", generator)] = True
    kept_edges = keep.index_select(0, edge_index[0]) & keep.index_select(0, edge_index[1])
    if "edges" in drawn:
        changed = _some(of_edge, (params.share * edges).long() * drawn["edges"], generator)
        if params.added_edges:
            edge_index = edge_index.index_copy(1, changed, _random_edges(of_edge[changed], nodes.long(), generator))
        else:
            kept_edges[changed] = False
    edge_index = edge_index.index_select(1, kept_edges.nonzero().squeeze(1))

    joined, with_edges = torch.zeros_like(keep), torch.zeros_like(kind, dtype=torch.bool)
    joined[edge_index] = True
    with_edges[batch[joined]] = True
    for name in drawn.keys() & {"nodes", "subgraph"}:
        keep &= joined | ~(drawn[name] & with_edges)[batch]

    number, kept = keep.cumsum(0) - 1, keep.nonzero().squeeze(1)
    x = x.index_select(0, kept)
    if "attributes" in drawn:
        masked = number[_some(batch, (params.share * nodes).long() * drawn["attributes"], generator)]
        x[masked] = 0.5 + 0.5 * torch.randn(len(masked), x.shape[1], generator=generator, device=x.device)
    return GraphBatch(x, number.take(edge_index), batch[kept], count)


def _some(group: Tensor, number: Tensor, generator: Generator) -> Tensor:
    """Positions in ``group`` (n,): of each group as many members as ``number`` (B,) says, drawn evenly."""
    members = (number > 0).index_select(0, group).nonzero().squeeze(1)
    keys = torch.rand(len(members), generator=generator, device=group.device)
    return members[_lowest(keys, group[members], number)]


def _lowest(keys: Tensor, group: Tensor, number: Tensor) -> Tensor:
    """Positions of each group's lowest ``keys`` (n,), all in [0, 1), as many as ``number`` (B,) says."""
    order = (group + keys.double()).argsort()
    of = group[order]
    begin = torch.searchsorted(of, torch.arange(len(number), device=of.device))
    rank = torch.arange(len(of), device=of.device) - begin[of]
    return order[rank < number[of]]


def _random_edges(group: Tensor, nodes: Tensor, generator: Generator) -> Tensor:
    """A directed edge (2, m) for each of ``group`` (m,), between any two of that graph's ``nodes`` (B,)."""
    ends = torch.randint(2**40, (2, len(group)), generator=generator, device=group.device)
    return (nodes.cumsum(0) - nodes)[group] + ends % nodes[group]


def _walk(graphs: GraphBatch, walking: Tensor, more: Tensor, connected: bool, generator: Generator) -> Tensor:
    """The nodes of a random walk in each graph that is ``walking`` (B,): a start, and ``more`` (B,) that join it.

    The next to join is drawn evenly from the neighbours of all that the walk has (``connected``) or of its start. If
    every node joins an exponential time after its first neighbour, that is who joins next, because an exponential
    distribution has no memory. So the walk is the nodes with the shortest paths from the start, and as the path to each
    leads through others of the walk, it has no more than ``more`` edges: so many rounds of Bellman and Ford find it.
    """
    batch, (source, target) = graphs.batch, graphs.edge_index
    inside = walking[batch].index_select(0, source).nonzero().squeeze(1)
    source, target = source[inside], target[inside]
    reached = torch.full((len(batch),), torch.inf, dtype=torch.float64, device=batch.device)
    time = torch.empty_like(reached).exponential_(generator=generator)[target]
    reached[_some(batch, walking.long(), generator)] = 0
    for _ in range(int((more * walking).max()) if connected else 1):
        reached.scatter_reduce_(0, target, reached.index_select(0, source) + time, "amin")
    found = reached.isfinite().nonzero().squeeze(1)
    arrival = reached[found]
    return found[_lowest(arrival / (1 + arrival), batch[found], 1 + more)]
