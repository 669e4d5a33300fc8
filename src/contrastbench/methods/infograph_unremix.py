"""InfoGraph with UnReMix's weights: a combination made here, from no paper."""

from torch import Tensor

from contrastbench.methods.infograph import InfoGraph
from contrastbench.models.heads import Projection
from contrastbench.objectives.infograph_unremix import infograph_unremix_loss
from contrastbench.params.settings_graphs import InfoGraphUnReMixSettings


class InfoGraphUnReMix(InfoGraph):
    """Score every other graph, weight it, tell it from the node's own."""

    settings: InfoGraphUnReMixSettings

    def contrast(self, nodes: Tensor, graphs: Projection, batch: Tensor) -> Tensor:
        """InfoGraph's loss with weighted negatives."""
        return infograph_unremix_loss(nodes, graphs, batch, **self.settings.model_dump())
