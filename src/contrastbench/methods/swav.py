"""SwAV (Caron et al., 2020) without multi-crop, as in facebookresearch/swav (specification of SwARo, 1.2)."""

from torch import Tensor

from contrastbench.methods.base import Batch, Step
from contrastbench.methods.prototype_base import FIRST, SECOND, PrototypeMethod
from contrastbench.objectives.swav import swapped_prediction_loss


class SwAV(PrototypeMethod):
    """Two views; each predicts the other's code."""

    def training_step(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Score both views against the prototypes, balance the scores into codes, predict the swapped codes."""
        embeddings = self.embed(*batch.views)
        scores = [self.prototypes(z) for z in embeddings]
        codes = [
            self.codes(view, z.detach(), s.detach(), step)
            for view, z, s in zip((FIRST, SECOND), embeddings, scores, strict=True)
        ]
        loss = swapped_prediction_loss(scores, codes, temperature=self.settings.temperature)
        return {"loss": loss, "embeddings": embeddings[0].detach()}
