"""A ready encoder, trained elsewhere: its weights are imported, and judged as they are."""

from pathlib import Path
from typing import Self

from torch import Tensor

from contrastbench.methods.base import Batch, Method, Step
from contrastbench.modalities import modality
from contrastbench.models.base import Encoder, Shape
from contrastbench.models.checkpoints import load_encoder, read_weights
from contrastbench.params.audio_track import AudioPretrainParams, LibrarySoundParams
from contrastbench.params.image_track import ImagePretrainParams


class Frozen(Method):
    """An encoder that is never trained here. ``checkpoint`` is the file of a transformer of sound.

    Where ``encoder.pretrained`` names the weights, who builds the encoder reads them.
    """

    trains = False

    def __init__(self, encoder: Encoder, checkpoint: str | None) -> None:
        super().__init__()
        self.encoder, self.checkpoint = encoder, checkpoint

    @classmethod
    def from_params(
        cls,
        params: ImagePretrainParams | AudioPretrainParams | LibrarySoundParams,
        input_shape: Shape,
        number_of_classes: int,
    ) -> Self:
        """Build the encoder for inputs of ``input_shape``."""
        encoder = modality(params.modality).build_encoder(params.encoder, input_shape)
        return cls(encoder, params.checkpoint if isinstance(params, AudioPretrainParams) else None)

    def import_weights(self) -> None:
        """Put the checkpoint's encoder of sound in place of the initialised one."""
        if self.checkpoint is not None:
            state = read_weights(Path(self.checkpoint))
            if "norm.weight" not in state:  # timm's, where tokens are pooled before it
                state = {name.replace("fc_norm.", "norm."): tensor for name, tensor in state.items()}
            load_encoder(self.encoder, state, f"{self.checkpoint}: not the weights of this section's encoder")

    def training_step(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Never called: ``trains`` is False."""
        raise RuntimeError("a ready encoder is judged as it is and is not trained")
