"""A batch of graphs, as one graph whose parts are not connected: PyTorch Geometric's form of a batch."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class GraphBatch:
    """What encoders of graphs take; B graphs with n nodes and E directed edges in all.

    x           (n, F) float32, features of the nodes
    edge_index  (2, E) int64, from and to; an undirected edge stands in it twice
    batch       (n,) int64, which graph each node belongs to, in order
    num_graphs  B; the last graphs may be without nodes
    """

    x: Tensor
    edge_index: Tensor
    batch: Tensor
    num_graphs: int
