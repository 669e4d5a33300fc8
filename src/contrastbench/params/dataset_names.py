"""Names of data sets in parameters: a track takes images or sound, and knows which there are."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, Field

from contrastbench.registry import AUDIO_DATASETS, DATASETS, IMAGE_DATASETS, hint


def require_image(name: str) -> str:
    """``name``, if it is a registered data set of images; else ValueError."""
    return _require(name, "image", IMAGE_DATASETS)


def require_audio(name: str) -> str:
    """``name``, if it is a registered data set of sound; else ValueError."""
    return _require(name, "audio", AUDIO_DATASETS)


def _require(name: str, modality: str, known: Iterable[str]) -> str:
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}; {hint(name, known)}")
    if name not in known:
        raise ValueError(f"{name!r} is no {modality} data set; known: {', '.join(known)}")
    return name


ImageDataset = Annotated[str, AfterValidator(require_image)]
AudioDataset = Annotated[str, AfterValidator(require_audio)]
ImageDatasets = Annotated[tuple[ImageDataset, ...], Field(min_length=1)]
AudioDatasets = Annotated[tuple[AudioDataset, ...], Field(min_length=1)]
