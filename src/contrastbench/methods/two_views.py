"""What the losses on two views of a batch share: one step of training, and what is logged of it."""

from abc import abstractmethod

from torch import Generator, Tensor

from contrastbench.methods.base import Batch, Step
from contrastbench.methods.contrastive_base import ContrastiveMethod
from contrastbench.models.heads import Projection
from contrastbench.objectives.diagnostics import beside_nt_xent
from contrastbench.params.settings_contrastive import WithTemperature


class TwoViews(ContrastiveMethod):
    """A loss between the projections of two views, logged beside NT-Xent."""

    settings: WithTemperature
    _latest: tuple[Projection, Projection]  # the latest step's projections, cut off from their graph

    @abstractmethod
    def contrast(self, first: Projection, second: Projection, generator: Generator) -> Tensor:
        """The loss, a scalar, with the method's settings; ``output`` (B, D) and ``hidden`` (B, H) of each view."""

    def weightings(self, first: Projection, second: Projection) -> dict[str, Tensor]:
        """What ranks each anchor's negatives: ``weights`` as the loss has them, and the scores behind them.

        Each (2B, 2B), -inf where there is no negative; nothing where all negatives count alike.
        """
        return {}

    def training_step(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Project both views, contrast."""
        first, second = (self.project(view) for view in batch.views)
        self._latest = _detached(first), _detached(second)
        return {"loss": self.contrast(first, second, step.generator), "embeddings": first.output.detach()}

    def diagnose(self, batch: Batch, labels: Tensor) -> dict[str, float]:
        """How far the latest step's gradient was from NT-Xent's: cosine, ratio of lengths, best temperature."""
        first, second = self._latest
        generator = Generator(first.output.device).manual_seed(0)  # the step's own has moved on, and must not move more

        def loss(first: Projection, second: Projection) -> Tensor:
            return self.contrast(first, second, generator)

        return beside_nt_xent(loss, first, second, self.settings.temperature)


def _detached(side: Projection) -> Projection:
    return Projection(*(part.detach() for part in side))
