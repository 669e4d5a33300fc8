"""Sizes of the audio masked autoencoder: a ViT on time x mel patches, and its decoder."""

from operator import not_
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from contrastbench.params.base import Section
from contrastbench.params.images import ImageSize, require_library
from contrastbench.params.values import Depth, Width

Shift = Annotated[int, Field(ge=0, le=10_000)]
Side = Annotated[int, Field(ge=1, le=10_000)]  # of a window, in patches
# The fixed sin-cos positions give each axis half of the width, and each half its sines and cosines.
TokenWidth = Annotated[Width, Field(ge=4, multiple_of=4)]
Readout = Literal["mean", "mean+std"]  # of an encoder's tokens, or of a spectrogram's frames
Target = Literal["raw", "standardised", "normalised"]  # what is predicted of a hidden patch


class ViTParams(Section):
    """Encoder. ViT-B/16, as AudioMAE has it: patch 16, width 768, depth 12, heads 12.

    readout  its features: the mean of the patch tokens (MAE-CT's pooling), or mean and standard deviation. The
             reference row ``log-mel`` reads the frames of the spectrogram in the same way

    architecture, input_size, grey_as_colour  a network of images in place of this one, for the methods that are not
             trained: as in ``params/images.py``, a spectrogram being a grey image. Then all other keys mean nothing
    """

    patch: int = Field(ge=2, le=1024)
    width: TokenWidth
    depth: Depth
    heads: Width
    readout: Readout
    architecture: Annotated[str, AfterValidator(require_library)] = Field(default="", exclude_if=not_)
    input_size: ImageSize = Field(default=0, exclude_if=not_)
    grey_as_colour: bool = Field(default=False, exclude_if=not_)

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        return self


class DecoderParams(Section):
    """Decoder. AudioMAE: local attention, width 512, depth 16, heads 16, window [4, 4], shift [2, 0].

    attention  ``global``, or ``local`` within windows of patches (time, mel)
    shift      by how many patches the windows of every second block are shifted; read by ``local`` only
    """

    attention: Literal["global", "local"]
    width: TokenWidth
    depth: Depth
    heads: Width
    window: tuple[Side, Side]
    shift: tuple[Shift, Shift]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        if any(shift >= side for shift, side in zip(self.shift, self.window, strict=True)):
            raise ValueError(f"shift {list(self.shift)} must be smaller than the window {list(self.window)}")
        return self
