"""Debiased contrastive learning (Chuang et al., 2020)."""

from torch import Tensor

from contrastbench.methods.base import Batch, Step
from contrastbench.methods.contrastive_base import ContrastiveMethod
from contrastbench.objectives.contrastive import dcl
from contrastbench.params.settings_contrastive import DCLSettings


class DCL(ContrastiveMethod):
    """Two views; the loss is corrected for the share of false negatives."""

    settings: DCLSettings

    def training_step(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """One step with the debiased loss."""
        first, second = (self.project(view).output for view in batch.views)
        loss = dcl(first, second, temperature=self.settings.temperature, tau_plus=self.settings.tau_plus)
        return {"loss": loss, "embeddings": first.detach()}
