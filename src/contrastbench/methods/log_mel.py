"""Reference row of sound: the spectrogram itself, its frames read out as an encoder's tokens are."""

from typing import Self

from torch import Tensor

from contrastbench.methods.base import Batch, Method, Step
from contrastbench.models.base import Encoder, Shape
from contrastbench.models.vit import read_out, read_out_size
from contrastbench.params.audio_track import AudioPretrainParams
from contrastbench.params.vit import Readout


class Frames(Encoder):
    """Normalised spectrograms (B, 1, T, F) -> statistics of each mel bin over time (B, features); no weights."""

    def __init__(self, mels: int, readout: Readout) -> None:
        super().__init__()
        self.readout, self.features = readout, read_out_size(mels, readout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, T, F) -> (B, features)."""
        return read_out(x.squeeze(1), self.readout)


class LogMel(Method):
    """What the track's ``encoder.readout`` gives without an encoder: nothing is trained."""

    trains = False

    def __init__(self, encoder: Frames) -> None:
        super().__init__()
        self.encoder = encoder

    @classmethod
    def from_params(cls, params: AudioPretrainParams, input_shape: Shape, number_of_classes: int) -> Self:
        """For spectrograms of ``input_shape`` (1, T, F)."""
        return cls(Frames(input_shape[2], params.encoder.readout))

    def training_step(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Never called: ``trains`` is False."""
        raise RuntimeError("the spectrogram's statistics are a reference row and are not trained")
