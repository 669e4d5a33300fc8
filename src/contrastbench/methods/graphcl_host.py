"""GraphCL's host (You et al., 2020): what it lends to losses between two views of a batch."""

from dataclasses import replace

from torch import Tensor, nn

from contrastbench.methods.base import Batch, Method, Step
from contrastbench.methods.contrastive_base import ContrastiveMethod
from contrastbench.modalities import modality
from contrastbench.models.base import Shape
from contrastbench.models.graph_heads import GraphProjector
from contrastbench.params.graph_track import GraphPretrainParams


class GraphCLHost(ContrastiveMethod):
    """An encoder of graphs, GraphCL's projector, and its two views: the graphs as they are, and augmented once.

    Stands before the method whose loss it is trained with: ``class GraphCLHCL(GraphCLHost, HCL)``.
    """

    number_of_views = 1

    def __init__(self, params: GraphPretrainParams, input_shape: Shape) -> None:
        Method.__init__(self)
        self.encoder = modality(params.modality).build_encoder(params.encoder, input_shape)
        self.projector = GraphProjector(self.encoder.features)
        self.settings = params.settings

    def networks(self) -> list[nn.Module]:
        """None: the rows of a batch of graphs are nodes and edges, which are not divided among devices."""
        return []

    def training_step(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """The method's own step, on the graphs and their augmented versions."""
        return super().training_step(replace(batch, views=[batch.clean, *batch.views]), step)  # type: ignore[safe-super]
