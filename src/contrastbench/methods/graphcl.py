"""GraphCL (You et al., 2020)."""

from torch import Generator, Tensor

from contrastbench.methods.graphcl_host import GraphCLHost
from contrastbench.methods.two_views import TwoViews
from contrastbench.models.heads import Projection
from contrastbench.objectives.graphcl import graphcl_loss
from contrastbench.params.settings_graphs import GraphCLSettings


class GraphCL(GraphCLHost, TwoViews):
    """Each graph finds its augmented version among the batch's."""

    settings: GraphCLSettings

    def contrast(self, first: Projection, second: Projection, generator: Generator) -> Tensor:
        """The loss as published."""
        return graphcl_loss(first.output, second.output, temperature=self.settings.temperature)
