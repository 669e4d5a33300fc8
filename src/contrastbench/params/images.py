"""Parameters of image encoders, projectors and augmentation."""

from typing import Literal, Self

from pydantic import Field, model_validator

from contrastbench.params.base import Section
from contrastbench.params.values import NonNegative, Positive, Probability, Width

Range = tuple[Positive, Positive]


class EncoderParams(Section):
    """An image encoder: ``resnet18`` and ``resnet50`` with the CIFAR stem, ``resnet-slim`` with three stages.

    ``width`` is the number of channels of the first stage (64 is the published width of ResNet-18/50).
    ``stem_stride`` 2 halves the resolution at once: a declared budget cut for 2 cores.
    """

    architecture: Literal["resnet-slim", "resnet18", "resnet50"]
    width: int = Field(ge=4, le=256)
    stem_stride: int = Field(ge=1, le=2)  # no Literal, to which 1.0 and true are 1


class ProjectorParams(Section):
    """Linear, BatchNorm, ReLU, Linear; the output is L2-normalised by the objective's method."""

    hidden: Width
    output: Width


class AugmentParams(Section):
    """Random transformations of images in [0, 1], drawn for every sample on its own.

    Strengths are those of torchvision's ColorJitter; a probability of 0 switches a transformation off.
    """

    crop_scale: Range
    crop_ratio: Range
    flip_probability: Probability
    jitter_probability: Probability
    brightness: NonNegative
    contrast: NonNegative
    saturation: NonNegative
    hue: float = Field(ge=0, le=0.5)
    grayscale_probability: Probability
    blur_probability: Probability
    blur_kernel: int = Field(ge=1, le=1023)
    blur_sigma: Range

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.crop_scale[0] > self.crop_scale[1] or self.crop_scale[1] > 1:
            raise ValueError("crop_scale must be [low, high] with 0 < low <= high <= 1")
        if self.crop_ratio[0] > self.crop_ratio[1]:
            raise ValueError("crop_ratio must be [low, high] with low <= high")
        if self.blur_sigma[0] > self.blur_sigma[1]:
            raise ValueError("blur_sigma must be [low, high] with low <= high")
        if self.blur_kernel % 2 == 0:
            raise ValueError("blur_kernel must be odd")
        return self
