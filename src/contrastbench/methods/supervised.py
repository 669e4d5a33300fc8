"""Supervised training: a reference row, and the base class of supervised adversarial training."""

from typing import Self

from torch import Tensor, nn
from torch.nn import functional

from contrastbench.methods.base import Batch, Method, Step
from contrastbench.modalities import modality
from contrastbench.models.base import Encoder, Shape
from contrastbench.params.image_track import ImagePretrainParams


class Supervised(Method):
    """Cross-entropy of a linear ``classifier`` on the encoder, on one augmented view."""

    encoder: Encoder
    number_of_views = 1
    uses_labels = True

    def __init__(self, params: ImagePretrainParams, input_shape: Shape, number_of_classes: int) -> None:
        super().__init__()
        self.encoder = modality(params.modality).build_encoder(params.encoder, input_shape)
        self.classifier = nn.Linear(self.encoder.features, number_of_classes)
        self.settings = params.settings

    @classmethod
    def from_params(cls, params: ImagePretrainParams, input_shape: Shape, number_of_classes: int) -> Self:
        """Build the method for inputs of ``input_shape``."""
        return cls(params, input_shape, number_of_classes)

    def logits(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, classes)."""
        return self.classifier(self.encoder(images))

    def training_step(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """One step of cross-entropy."""
        view, labels = labelled_view(batch)
        features = self.encoder(view)
        return {
            "loss": functional.cross_entropy(self.classifier(features), labels),
            "embeddings": features.detach(),
        }


def labelled_view(batch: Batch) -> tuple[Tensor, Tensor]:
    """The single view and its labels; the loop has checked that there are labels."""
    assert batch.labels is not None
    return batch.views[0], batch.labels
