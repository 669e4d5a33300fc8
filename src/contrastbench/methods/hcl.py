"""Contrastive learning with hard negative samples (Robinson et al., 2021)."""

import math

from torch import Generator, Tensor

from contrastbench.methods.two_views import TwoViews
from contrastbench.models.heads import Projection
from contrastbench.objectives.contrastive import hcl, normalized_pair
from contrastbench.objectives.unremix import fill_others
from contrastbench.params.settings_contrastive import HCLSettings


class HCL(TwoViews):
    """Negatives weighted by e^{beta s / temperature}."""

    settings: HCLSettings

    def contrast(self, first: Projection, second: Projection, generator: Generator) -> Tensor:
        """The hard-negative loss."""
        return hcl(first.output, second.output, **self.settings.model_dump())

    def weightings(self, first: Projection, second: Projection) -> dict[str, Tensor]:
        """The weights, up to a factor of each anchor."""
        z = normalized_pair(first.output, second.output)
        weight = (self.settings.beta * (z @ z.T - 1) / self.settings.temperature).exp()
        return {"weights": fill_others(weight, -math.inf, "both")}
