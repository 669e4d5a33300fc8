"""InfoGraph (Sun et al., 2020): mutual information between the nodes and the whole of a graph."""

from typing import Self, cast

from torch import Tensor, nn

from contrastbench.augment.graph_batch import GraphBatch
from contrastbench.methods.base import Batch, Method, Step
from contrastbench.models.base import Shape
from contrastbench.models.gin import GIN
from contrastbench.models.graph_heads import ShortcutNetwork
from contrastbench.models.heads import Projection
from contrastbench.objectives.infograph import infograph_loss
from contrastbench.params.graph_track import GraphPretrainParams


class InfoGraph(Method):
    """Encoder, a network for nodes and one for graphs, and the method's settings as ``self.settings``."""

    encoder: GIN
    number_of_views = 0

    def __init__(self, params: GraphPretrainParams, input_shape: Shape) -> None:
        super().__init__()
        self.encoder = GIN(params.encoder, input_shape)
        self.node_network, self.graph_network = (ShortcutNetwork(self.encoder.features) for _ in range(2))
        self.settings = params.settings

    @classmethod
    def from_params(cls, params: GraphPretrainParams, input_shape: Shape, number_of_classes: int) -> Self:
        """Build the method for graphs with ``input_shape`` node labels."""
        return cls(params, input_shape)

    def networks(self) -> list[nn.Module]:
        """None: the rows of a batch of graphs are nodes and edges, which are not divided among devices."""
        return []

    def contrast(self, nodes: Tensor, graphs: Projection, batch: Tensor) -> Tensor:
        """The loss, a scalar: nodes (n, D), graphs' pooled features ``hidden`` and ``output`` (B, D), batch (n,)."""
        return infograph_loss(nodes, graphs.output, batch)

    def training_step(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Encode nodes, pool them, and tell each node's own graph from the others."""
        inputs = cast(GraphBatch, batch.clean)
        nodes = self.encoder.nodes(inputs)
        pooled = self.encoder.pool(nodes, inputs)
        graphs = Projection(pooled, self.graph_network(pooled))
        loss = self.contrast(self.node_network(nodes), graphs, inputs.batch)
        return {"loss": loss, "embeddings": graphs.output.detach()}
