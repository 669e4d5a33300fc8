"""What contrastive image methods share: an encoder and a projector."""

from typing import Self

import torch
from torch import Tensor

from contrastbench.methods.base import Method
from contrastbench.models.encoders import build_encoder
from contrastbench.models.heads import Projection, ProjectionHead
from contrastbench.params.image_track import ImagePretrainParams


class ContrastiveMethod(Method):
    """Encoder, projector, and the method's settings as ``self.settings``."""

    def __init__(self, params: ImagePretrainParams, channels: int) -> None:
        super().__init__()
        encoder = build_encoder(params.encoder, channels)
        self.encoder = encoder
        self.projector = ProjectionHead(encoder.features, params.projector)
        self.settings = params.settings

    @classmethod
    def from_params(
        cls, params: ImagePretrainParams, input_shape: tuple[int, int, int], number_of_classes: int
    ) -> Self:
        """Build the method for images of ``input_shape`` (C, H, W)."""
        return cls(params, input_shape[0])

    def project(self, views: Tensor) -> Projection:
        """(B, C, H, W) -> the projection of one view; BatchNorm sees each view separately."""
        return self.projector(self.encoder(views))

    def project_together(self, *views: Tensor) -> tuple[Tensor, ...]:
        """Each (B, C, H, W) -> (B, D), all views in one forward pass: BatchNorm sees them together."""
        return self.project(torch.cat(views)).output.chunk(len(views))
