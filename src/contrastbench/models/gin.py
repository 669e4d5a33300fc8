"""A graph isomorphism network, as GraphCL, InfoGraph and HCL use it (specification of graphs, section 3)."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch_geometric.nn import GINConv, global_add_pool

from contrastbench.augment.graph_batch import GraphBatch
from contrastbench.models.base import Encoder, Shape
from contrastbench.params.graphs import GINParams


class GIN(Encoder):
    """Layers of GINConv (Linear, ReLU, Linear), each followed by ReLU and then BatchNorm (Xu et al., 2019).

    What describes a node or a graph is the outputs of all layers, one after another: D = layers * width. Linear layers
    begin Xavier-uniform, with biases 0.
    """

    def __init__(self, params: GINParams, input_shape: Shape) -> None:
        super().__init__()
        self.features = params.layers * params.width
        widths = [*input_shape, *[params.width] * params.layers]
        self.convolutions = nn.ModuleList(GINConv(_two_layers(*pair)) for pair in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm1d(params.width) for _ in range(params.layers))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, graphs: GraphBatch) -> Tensor:
        """Features of the graphs (B, D)."""
        return self.pool(self.nodes(graphs), graphs)

    def nodes(self, graphs: GraphBatch) -> Tensor:
        """Features of the nodes (n, D)."""
        x, outputs = graphs.x, []
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = norm(convolution(x, graphs.edge_index).relu())
            outputs.append(x)
        return torch.cat(outputs, dim=1)

    def pool(self, nodes: Tensor, graphs: GraphBatch) -> Tensor:
        """The sums (B, D) of the nodes' features (n, D) over each graph; zeros for a graph without nodes."""
        return global_add_pool(nodes, graphs.batch, size=graphs.num_graphs)


def _two_layers(inputs: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width))
