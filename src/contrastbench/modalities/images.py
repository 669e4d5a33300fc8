"""Images: stored uint8 (N, H, W, C), seen as (B, C, H, W) in [0, 1]."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from contrastbench.augment.images import augment_images, to_float
from contrastbench.datasets.store import Prepared
from contrastbench.errors import UserError
from contrastbench.modalities.base import Modality
from contrastbench.models.base import Encoder, Shape
from contrastbench.params.base import Section
from contrastbench.params.images import AugmentParams, EncoderParams


class Images(Modality):
    """Grey or colour images."""

    def inputs(self, rows: np.ndarray | Tensor, device: torch.device) -> Tensor:
        """uint8 (B, H, W, C) -> float32 (B, C, H, W) in [0, 1]."""
        return to_float(torch.as_tensor(rows).to(device, non_blocking=True))

    def input_shape(self, data: Prepared) -> Shape:
        """(C, H, W)."""
        height, width, channels = data.x("train").shape[1:]
        return channels, height, width

    def build_encoder(self, params: Section, input_shape: Shape) -> Encoder:
        """A ResNet, whose size does not depend on the images'."""
        from contrastbench.models.encoders import build_encoder  # torchvision: rows without an encoder do without

        assert isinstance(params, EncoderParams)
        return build_encoder(params, input_shape[0])

    def augmentation(self, params: Section) -> Callable[[Tensor, Generator], Tensor]:
        """SimCLR's transformations."""
        assert isinstance(params, AugmentParams)
        return lambda images, generator: augment_images(images, params, generator)

    def reference_features(self, data: Prepared, split: str) -> np.ndarray:
        """The pixels in [0, 1], flattened: (N, H * W * C)."""
        x = data.x(split)
        return x.reshape(len(x), -1).astype(np.float32) / 255

    def adaptation(self, found: Shape, wanted: Shape) -> Callable[[Tensor], Tensor]:
        """Images are scaled, bilinearly; grey ones do not become coloured, nor the other way round."""
        if found[0] != wanted[0]:
            raise UserError("one data set is grey, the other in colour")
        return lambda images: functional.interpolate(images, wanted[1:], mode="bilinear", antialias=True)
