"""Parameters of the accuracy on corrupted images."""

from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field

from contrastbench.params.base import Section
from contrastbench.params.values import Examples, without_repeats

Kind = Literal[
    "gaussian-noise",
    "shot-noise",
    "impulse-noise",
    "defocus-blur",
    "glass-blur",
    "motion-blur",
    "zoom-blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic-transform",
    "pixelate",
    "jpeg-compression",
]
KINDS: tuple[str, ...] = get_args(Kind)
Severity = Annotated[int, Field(ge=1, le=5)]


class CorruptionsParams(Section):
    """Accuracy under common corruptions, by the classifier of the linear probe (section ``probe``).

    Of a track with a section ``robustness``, by the classifiers of its heads.

    images  how many test images, chosen once and for all of a data set; null takes all
    """

    kinds: Annotated[tuple[Kind, ...], Field(min_length=1), AfterValidator(without_repeats)]
    severities: Annotated[tuple[Severity, ...], Field(min_length=1), AfterValidator(without_repeats)]
    images: Annotated[Examples, Field(ge=2)] | None
