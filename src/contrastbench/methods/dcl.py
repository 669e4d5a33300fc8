"""Debiased contrastive learning (Chuang et al., 2020)."""

from torch import Generator, Tensor

from contrastbench.methods.two_views import TwoViews
from contrastbench.models.heads import Projection
from contrastbench.objectives.contrastive import dcl
from contrastbench.params.settings_contrastive import DCLSettings


class DCL(TwoViews):
    """The loss is corrected for the share of false negatives."""

    settings: DCLSettings

    def contrast(self, first: Projection, second: Projection, generator: Generator) -> Tensor:
        """The debiased loss."""
        return dcl(first.output, second.output, **self.settings.model_dump())
