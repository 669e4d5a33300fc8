"""SimCLR (Chen et al., 2020)."""

from torch import Tensor

from contrastbench.methods.base import Batch, Step
from contrastbench.methods.contrastive_base import ContrastiveMethod
from contrastbench.objectives.contrastive import nt_xent
from contrastbench.params.settings_contrastive import SimCLRSettings


class SimCLR(ContrastiveMethod):
    """Two views, NT-Xent."""

    settings: SimCLRSettings

    def training_step(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """One step of SimCLR's Algorithm 1."""
        first, second = (self.project(view).output for view in batch.views)
        return {"loss": nt_xent(first, second, temperature=self.settings.temperature), "embeddings": first.detach()}
