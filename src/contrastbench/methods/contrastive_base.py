"""What contrastive image methods share: an encoder and a projector."""

from typing import Self

import torch
from torch import Tensor

from contrastbench.methods.base import Method
from contrastbench.modalities import modality
from contrastbench.models.base import Encoder, Shape
from contrastbench.models.heads import Projection, ProjectionHead
from contrastbench.params.image_track import ImagePretrainParams


class ContrastiveMethod(Method):
    """Encoder, projector, and the method's settings as ``self.settings``."""

    encoder: Encoder

    def __init__(self, params: ImagePretrainParams, input_shape: Shape) -> None:
        super().__init__()
        self.encoder = modality(params.modality).build_encoder(params.encoder, input_shape)
        self.projector = ProjectionHead(self.encoder.features, params.projector)
        self.settings = params.settings

    @classmethod
    def from_params(cls, params: ImagePretrainParams, input_shape: Shape, number_of_classes: int) -> Self:
        """Build the method for inputs of ``input_shape``."""
        return cls(params, input_shape)

    def project(self, views: Tensor) -> Projection:
        """(B, C, H, W) -> the projection of one view; BatchNorm sees each view separately."""
        return self.projector(self.encoder(views))

    def project_together(self, *views: Tensor) -> tuple[Tensor, ...]:
        """Each (B, C, H, W) -> (B, D), all views in one forward pass: BatchNorm sees them together."""
        return self.project(torch.cat(views)).output.chunk(len(views))
