"""Contrastive learning with hard negative samples (Robinson et al., 2021)."""

import torch
from torch import Tensor

from contrastbench.methods.base import Batch, Step
from contrastbench.methods.contrastive_base import ContrastiveMethod
from contrastbench.objectives.contrastive import hcl, normalized_pair
from contrastbench.objectives.diagnostics import selection_report
from contrastbench.objectives.unremix import negative_mask
from contrastbench.params.settings_contrastive import HCLSettings


class HCL(ContrastiveMethod):
    """Two views, negatives weighted by e^{beta s / temperature}."""

    settings: HCLSettings

    def training_step(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """One step with the hard-negative loss."""
        first, second = (self.project(view).output for view in batch.views)
        loss = hcl(
            first,
            second,
            temperature=self.settings.temperature,
            tau_plus=self.settings.tau_plus,
            beta=self.settings.beta,
        )
        return {"loss": loss, "embeddings": first.detach()}

    def diagnose(self, batch: Batch, labels: Tensor) -> dict[str, float]:
        """How often heavily weighted negatives are false negatives."""
        first, second = (self.project(view).output for view in batch.views)
        z = normalized_pair(first, second)
        negative = negative_mask(len(labels), "both", z.device)
        weight = torch.exp(self.settings.beta * (z @ z.T) / self.settings.temperature)
        return selection_report(weight, negative, labels.repeat(2))
