"""Reference row: the encoder as initialised, without any training."""

from typing import Self

from torch import Tensor

from contrastbench.methods.base import Batch, Method, Step
from contrastbench.modalities import modality
from contrastbench.models.base import Encoder, Shape
from contrastbench.params.audio_track import AudioPretrainParams
from contrastbench.params.image_track import ImagePretrainParams


class RandomEncoder(Method):
    """An encoder that is never trained: the track's own, with the weights that its methods start from."""

    trains = False

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    @classmethod
    def from_params(
        cls, params: ImagePretrainParams | AudioPretrainParams, input_shape: Shape, number_of_classes: int
    ) -> Self:
        """Build the track's encoder for inputs of ``input_shape``."""
        return cls(modality(params.modality).build_encoder(params.encoder, input_shape))

    def training_step(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Never called: ``trains`` is False."""
        raise RuntimeError("the random encoder is a reference row and is not trained")
