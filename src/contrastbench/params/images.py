"""Parameters of image encoders, projectors and augmentation."""

from operator import not_
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from contrastbench.params.base import Section, refusal
from contrastbench.params.values import NonNegative, Positive, Probability, Width
from contrastbench.registry import hint

Range = tuple[Positive, Positive]
OURS = ("resnet-slim", "resnet18", "resnet50")  # models/encoders.py
LIBRARIES = ("timm", "torchvision")
# What stands in place of ``pretrained`` once weights were imported (pipeline/imported.py).
IMPORTED = ("sha256:", "hub:")


ImageSize = Annotated[int, Field(ge=4, le=4096)]


def require_library(name: str, *others: str) -> str:
    """``name``, if it is ``LIBRARY/NAME`` or one of the ``others``; else ValueError. A library knows its own names."""
    library, _, inside = name.partition("/")
    if name not in others and not (library in LIBRARIES and inside):
        raise ValueError(f"unknown architecture; {hint(name, [*others, *(f'{each}/NAME' for each in LIBRARIES)])}")
    return name


def require_architecture(name: str) -> str:
    """The same, where ours are others."""
    return require_library(name, *OURS)


class EncoderParams(Section):
    """An image encoder.

    architecture   ``resnet18`` and ``resnet50`` with the CIFAR stem, ``resnet-slim`` with three stages; ``timm/NAME``
                   and ``torchvision/NAME`` without their classifier
    width          of the first three alone, and needed there: channels of the first stage (64 is the published width)
    stem_stride    likewise; 2 halves the resolution at once: a declared budget cut for 2 cores
    input_size     height and width that images are scaled to before the encoder; if not given, the architecture's own
                   where it takes no other (vision transformers), else the data's
    stem           of a library's ResNet: ``original``, or ``cifar``, a first convolution of 3 x 3, without max-pool
    grey_as_colour whether grey images become three equal channels, for weights that were trained on colour
    mean, std      of the pixels, one number for each channel or one for all; if not given, those that the library
                   states for the architecture, and for ours those of models/encoders.py
    pretrained     file of weights to start from, or, of a library, ``default`` or ``hf-hub:OWNER/NAME``, which it
                   downloads
    """

    architecture: Annotated[str, AfterValidator(require_architecture)]
    width: int = Field(default=0, ge=4, le=256, exclude_if=not_)
    stem_stride: int = Field(default=0, ge=1, le=2, exclude_if=not_)  # no Literal, to which 1.0 and true are 1
    input_size: ImageSize = Field(default=0, exclude_if=not_)
    stem: Literal["original", "cifar"] = Field(default="original", exclude_if="original".__eq__)
    grey_as_colour: bool = Field(default=False, exclude_if=not_)
    mean: tuple[Probability, ...] = Field(default=(), max_length=3, exclude_if=not_)
    std: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(default=(), max_length=3, exclude_if=not_)
    pretrained: str = Field(default="", exclude_if=not_)

    @property
    def is_ours(self) -> bool:
        """Whether it is no library's architecture."""
        return self.architecture in OURS

    @property
    def is_from_a_hub(self) -> bool:
        """Whether ``pretrained`` names no file, but weights that a library downloads."""
        return self.pretrained == "default" or self.pretrained.startswith("hf-hub:")

    @property
    def is_plain(self) -> bool:
        """Whether it is one of ours, with nothing but a width and a stride."""
        return self.is_ours and self.model_dump().keys() <= {"architecture", "width", "stem_stride"}

    def read_by(self, method: str) -> Self:
        """What counts of it for a method: no width of a library's architecture, no weights where they are random."""
        left_out: dict[str, object] = {} if self.is_ours else {"width": 0, "stem_stride": 0}
        return self.model_copy(update=left_out | ({"pretrained": ""} if method == "random" else {}))

    @model_validator(mode="after")
    def _fits_the_architecture(self) -> Self:
        for key in ("width", "stem_stride"):
            if self.is_ours and not getattr(self, key):
                raise refusal("this key is required and missing", key)
        if self.is_ours and self.stem != "original":
            message = f"is for architectures of {' and '.join(LIBRARIES)}; {self.architecture} has `stem_stride`"
            raise refusal(message, "stem", value=self.stem)
        if self.is_from_a_hub and self.is_ours:
            message = f"no hub has weights of {self.architecture}; name a file"
            raise refusal(message, "pretrained", value=self.pretrained)
        if self.is_from_a_hub and self.stem == "cifar":
            raise refusal("a hub's weights are of the original stem; remove `stem`", "stem", value=self.stem)
        if len(self.mean) != len(self.std):
            raise ValueError("set mean and std both, each with as many numbers, or neither")
        return self


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
