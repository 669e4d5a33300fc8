"""uaMix-MAE (Tabassum et al., ICASSP 2024): contrastive tuning of an audio MAE on unsupervised mixtures.

Re-implemented from the abstract, the two published figures and the code of the works it builds on (specification of
uaMix-MAE); every unknown is a setting (``params/uamix.py``).
"""

from torch import Tensor

from contrastbench.augment.mixing import mix
from contrastbench.methods.base import Batch, Step
from contrastbench.methods.contrastive_tuning import ContrastiveTuning, identity_labels
from contrastbench.models.base import Shape
from contrastbench.params.audio_track import TuneParams
from contrastbench.params.settings_autoencoder import UaMixSettings


class UaMixMAE(ContrastiveTuning):
    """Mixtures of raw spectrograms against augmented clean views, with virtual labels that say what was mixed."""

    settings: UaMixSettings

    def __init__(self, params: TuneParams, input_shape: Shape) -> None:
        super().__init__(params, input_shape)
        needs_two = self.settings.augment_mixture or self.settings.clean_loss_weight > 0
        self.number_of_views = 2 if needs_two else 1

    def training_step(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Mix, find the mixtures' neighbours, and match them with the clean views of the mixed samples."""
        settings, ids = self.settings, batch.index
        source = batch.views[1] if settings.augment_mixture else batch.clean
        mixture = mix(source, settings.mixing, settings.alpha, step.generator)
        labels = mixture.labels if settings.mix_labels else identity_labels(ids)
        clean = self.encoder(batch.views[0])
        loss, embeddings = self.contrast(self.encoder(mixture.x), clean, labels, ids, step)
        output = {"embeddings": embeddings, "kept_share": mixture.kept.mean()}
        if settings.clean_loss_weight > 0:
            unmixed, _ = self.contrast(self.encoder(batch.views[1]), clean, identity_labels(ids), ids, step)
            output |= {"mixed": loss.detach(), "unmixed": unmixed.detach()}
            loss = loss + settings.clean_loss_weight * unmixed
        self.remember(embeddings, ids)
        return {"loss": loss, **output}
