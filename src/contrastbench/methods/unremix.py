"""UnReMix (Tabassum et al., 2022): negatives chosen by uncertainty, similarity and representativeness.

Re-implemented from the abstract, the figure and secondary sources (specification of UnReMix); every unknown is a
setting (``params/unremix.py``).
"""

from torch import Tensor

from contrastbench.methods.base import Batch, Step
from contrastbench.methods.contrastive_base import ContrastiveMethod
from contrastbench.objectives.diagnostics import rank_correlations, selection_report
from contrastbench.objectives.unremix import unremix_loss, weighted
from contrastbench.params.settings_contrastive import UnReMixSettings


class UnReMix(ContrastiveMethod):
    """Two views, contrastive loss with weighted negatives."""

    settings: UnReMixSettings

    def training_step(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Score every negative, weight it, contrast."""
        first, second = (self.project(view) for view in batch.views)
        loss = unremix_loss(first, second, **self.settings.model_dump())
        return {"loss": loss, "embeddings": first.output.detach()}

    def diagnose(self, batch: Batch, labels: Tensor) -> dict[str, float]:
        """False negatives among the heavily weighted, effective number of negatives, correlations of the scores."""
        first, second = (self.project(view) for view in batch.views)
        _, weight, scores = weighted(first, second, **self.settings.model_dump(exclude={"tau_plus"}))
        return selection_report(weight, scores.negative, labels.repeat(2)) | rank_correlations(scores)
