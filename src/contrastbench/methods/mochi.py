"""MoCHi-style synthetic hard negatives (Kalantidis et al., 2020), in-batch instead of MoCo's queue."""

from torch import Tensor

from contrastbench.methods.base import Batch, Step
from contrastbench.methods.contrastive_base import ContrastiveMethod
from contrastbench.objectives.mochi import mochi_loss
from contrastbench.params.settings_contrastive import MoCHiSettings


class MoCHi(ContrastiveMethod):
    """Two views, NT-Xent with blends of each anchor's hardest negatives added."""

    settings: MoCHiSettings

    def training_step(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """One step with synthetic negatives, sampled with the step's generator."""
        first, second = (self.project(view).output for view in batch.views)
        loss = mochi_loss(
            first,
            second,
            temperature=self.settings.temperature,
            hardest=self.settings.hardest,
            mixed_negatives=self.settings.mixed_negatives,
            mixed_with_query=self.settings.mixed_with_query,
            generator=step.generator,
        )
        return {"loss": loss, "embeddings": first.detach()}
