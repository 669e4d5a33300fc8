"""Random changes of graphs: GraphCL's four kinds (specification of graphs, section 5), of a whole batch at once.

How many nodes and edges are left follows from the draws, so that an accelerator is waited for where that is read.
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

    Of what ``nodes`` and ``subgraph`` leave, nodes without an edge go too, unless all are.
    """
    batch, count = graphs.batch, graphs.num_graphs
    device = batch.device
    drawn = torch.randint(len(params.kinds), (count,), generator=generator, device=device)
    of_edge = batch[graphs.edge_index[0]]
    sizes, edges = (torch.bincount(group, minlength=count).double() for group in (batch, of_edge))

    def of_kind(kind: str) -> Tensor:
        return drawn == params.kinds.index(kind) if kind in params.kinds else torch.zeros_like(drawn, dtype=torch.bool)

    def some(kind: str, group: Tensor, sizes: Tensor) -> Tensor:
        number = (params.share * sizes * of_kind(kind)).long()
        return _lowest(torch.rand(len(group), generator=generator, device=device), group, number)

    walking = of_kind("subgraph")
    keep = ~walking[batch]
    keep[some("nodes", batch, sizes)] = False
    keep[_walk(graphs, walking, (params.subgraph * sizes).long(), params.walk == "connected", generator)] = True

    edge_index, edge_kept = graphs.edge_index, keep[graphs.edge_index].all(dim=0)
    changed = some("edges", of_edge, edges)
    if params.added_edges:
        ends = torch.randint(2**40, (2, len(changed)), generator=generator, device=device)
        first, size = (values.long()[of_edge[changed]] for values in (sizes.cumsum(0) - sizes, sizes))
        edge_index = edge_index.clone()
        edge_index[:, changed] = first + ends % size
    else:
        edge_kept[changed] = False
    edge_index = edge_index[:, edge_kept]

    smaller = torch.zeros(count, dtype=torch.bool, device=device)
    smaller[of_edge[edge_kept]] = True
    smaller &= of_kind("nodes") | walking
    joined = torch.zeros_like(keep)
    joined[edge_index] = True
    keep &= joined | ~smaller[batch]

    number = keep.cumsum(0) - 1
    x, masked = graphs.x[keep], number[some("attributes", batch, sizes)]
    x[masked] = 0.5 + 0.5 * torch.randn(len(masked), x.shape[1], generator=generator, device=device)
    return GraphBatch(x, number[edge_index], batch[keep], count)


def _lowest(keys: Tensor, group: Tensor, number: Tensor) -> Tensor:
    """Positions of the ``number`` (B,) lowest of each group's keys, all of them below 1 where any counts."""
    position = ((number[group] > 0) & (keys < 1)).nonzero().squeeze(1)
    order = (group[position] + keys[position].double()).argsort()
    position = position[order]
    of = group[position]
    rank = torch.arange(len(of), device=of.device) - torch.searchsorted(of, of)
    return position[rank < number[of]]


def _walk(graphs: GraphBatch, walking: Tensor, more: Tensor, connected: bool, generator: Generator) -> Tensor:
    """The nodes of a random walk in each graph that is ``walking`` (B,): a start, and ``more`` (B,) that join it.

    The next to join is drawn evenly from the neighbours of those that the walk has (``connected``) or of the start.
    A neighbour that joins after an exponential time does just that, as the exponential distribution has no memory:
    those that join are the nodes that are reached first.
    """
    batch, device = graphs.batch, graphs.batch.device
    start = _lowest(torch.rand(len(batch), generator=generator, device=device), batch, walking.long())
    reached = torch.full((len(batch),), torch.inf, dtype=torch.float64, device=device)
    reached[start] = 0
    source, target = graphs.edge_index[:, walking[batch[graphs.edge_index[0]]]]
    time = torch.empty_like(reached).exponential_(generator=generator)[target]
    while True:
        before, reached = reached, reached.scatter_reduce(0, target, reached[source] + time, "amin")
        if not connected or torch.equal(reached, before):
            return _lowest(1 - 1 / (1 + reached), batch, (1 + more) * walking)
