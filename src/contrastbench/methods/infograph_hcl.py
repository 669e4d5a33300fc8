"""InfoGraph with hard negatives (Robinson et al., 2021, ``JSD_hard``)."""

from torch import Tensor

from contrastbench.methods.infograph import InfoGraph
from contrastbench.models.heads import Projection
from contrastbench.objectives.infograph import infograph_hcl_loss
from contrastbench.params.settings_graphs import InfoGraphHCLSettings


class InfoGraphHCL(InfoGraph):
    """Other graphs weighted by their scores, and the loss corrected for the share of false negatives."""

    settings: InfoGraphHCLSettings

    def contrast(self, nodes: Tensor, graphs: Projection, batch: Tensor) -> Tensor:
        """The hard-negative loss."""
        return infograph_hcl_loss(nodes, graphs.output, batch, **self.settings.model_dump())
