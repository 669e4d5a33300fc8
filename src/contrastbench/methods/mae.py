"""Masked autoencoder on spectrograms (AudioMAE, Huang et al., 2022): the untuned baseline, and the start of tuning."""

from pathlib import Path
from typing import Self

from torch import Tensor, nn

from contrastbench.methods.base import Batch, Method, Step
from contrastbench.methods.decay import groups_with_decay
from contrastbench.models.base import Shape
from contrastbench.models.masked_autoencoder import Decoder, MaskedAutoencoder, random_mask
from contrastbench.models.patches import patchify
from contrastbench.models.vit import AudioViT
from contrastbench.models.vit_checkpoint import import_encoder
from contrastbench.objectives.masked_autoencoding import masked_reconstruction_loss
from contrastbench.params.audio_track import AudioPretrainParams


class MAE(Method):
    """Encoder of the visible patches, decoder of all. A ``checkpoint`` provides the encoder instead of training."""

    number_of_views = 1

    def __init__(self, params: AudioPretrainParams, input_shape: Shape) -> None:
        super().__init__()
        encoder = AudioViT(params.encoder, input_shape)
        self.autoencoder = MaskedAutoencoder(encoder, Decoder(params.decoder, encoder))
        self.mask_ratio = params.mask_ratio
        self.target = params.target
        self.patch = params.encoder.patch
        self.checkpoint = params.checkpoint
        self.trains = params.checkpoint is None

    @property
    def encoder(self) -> AudioViT:  # type: ignore[override]  # registered once, inside the autoencoder
        """What the protocols evaluate."""
        return self.autoencoder.encoder

    @classmethod
    def from_params(cls, params: AudioPretrainParams, input_shape: Shape, number_of_classes: int) -> Self:
        """Build the method for spectrograms of ``input_shape`` (1, T, F)."""
        return cls(params, input_shape)

    def networks(self) -> list[nn.Module]:
        """The autoencoder, and the encoder where it is called by itself."""
        return [self.autoencoder, self.encoder]

    def import_weights(self) -> None:
        """Put the checkpoint's encoder in place of the initialised one."""
        if self.checkpoint is not None:
            import_encoder(self.encoder, Path(self.checkpoint))

    def reconstruction(self, x: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """Loss of one masked pass over ``x`` (B, 1, T, F), and the features (B, D) of the visible tokens."""
        mask = random_mask(len(x), self.encoder.patch_embed.num_patches, self.mask_ratio, step.generator)
        prediction, tokens = self.autoencoder(x, mask)
        loss = masked_reconstruction_loss(prediction, patchify(x, self.patch), mask.hidden, self.target)
        return loss, self.encoder.pool(tokens)

    def training_step(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Hide most patches, encode the rest, predict the hidden ones."""
        loss, pooled = self.reconstruction(batch.views[0], step)
        return {"loss": loss, "embeddings": pooled.detach()}

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict]:
        """MAE's: no weight decay on vectors."""
        return groups_with_decay(self.parameters(), learning_rate, weight_decay)
