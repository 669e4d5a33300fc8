"""MoCHi-style synthetic hard negatives (Kalantidis et al., 2020), in-batch instead of MoCo's queue."""

from torch import Generator, Tensor

from contrastbench.methods.two_views import TwoViews
from contrastbench.models.heads import Projection
from contrastbench.objectives.mochi import mochi_loss
from contrastbench.params.settings_contrastive import MoCHiSettings


class MoCHi(TwoViews):
    """NT-Xent with blends of each anchor's hardest negatives added."""

    settings: MoCHiSettings

    def contrast(self, first: Projection, second: Projection, generator: Generator) -> Tensor:
        """The loss with synthetic negatives, sampled with ``generator``."""
        return mochi_loss(first.output, second.output, **self.settings.model_dump(), generator=generator)
