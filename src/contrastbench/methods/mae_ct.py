"""MAE-CT (Lehner et al., 2023) on audio: contrastive tuning of a masked autoencoder, without mixing."""

from torch import Tensor

from contrastbench.methods.base import Batch, Step
from contrastbench.methods.contrastive_tuning import ContrastiveTuning, identity_labels


class MAECT(ContrastiveTuning):
    """Two augmented views, NNCLR."""

    def training_step(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """One step of NNCLR between the two views."""
        first, second = (self.encoder(view) for view in batch.views)
        loss, embeddings = self.contrast(first, second, identity_labels(batch.index), batch.index, step)
        self.remember(embeddings, batch.index)
        return {"loss": loss, "embeddings": embeddings}
