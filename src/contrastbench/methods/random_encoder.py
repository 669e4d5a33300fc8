"""Reference row: the encoder as initialised, without any training."""

from typing import Self

from torch import Tensor, nn

from contrastbench.methods.base import Batch, Method, Step
from contrastbench.params.audio_track import AudioPretrainParams
from contrastbench.params.image_track import ImagePretrainParams


class RandomEncoder(Method):
    """An encoder that is never trained: the track's own, with the weights that its methods start from."""

    trains = False

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    @classmethod
    def from_params(
        cls,
        params: ImagePretrainParams | AudioPretrainParams,
        input_shape: tuple[int, int, int],
        number_of_classes: int,
    ) -> Self:
        """Build the track's encoder for inputs of ``input_shape`` (C, H, W)."""
        # Imported here, so that an image job need not wait for timm, nor an audio job for torchvision.
        if isinstance(params, AudioPretrainParams):
            from contrastbench.models.vit import AudioViT

            return cls(AudioViT(params.encoder, input_shape))
        from contrastbench.models.encoders import build_encoder

        return cls(build_encoder(params.encoder, input_shape[0]))

    def training_step(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Never called: ``trains`` is False."""
        raise RuntimeError("the random encoder is a reference row and is not trained")
