"""Names of data sets in parameters: a track takes those of its modality."""

from typing import Annotated

from pydantic import AfterValidator

from contrastbench.params.base import refusal
from contrastbench.registry import DATASETS, DATASETS_OF, RESERVED_IN_NAMES, hint, modality_name


def require_dataset(name: str, modality: str) -> str:
    """``name``, if it is a registered data set of ``modality``; else ValueError."""
    known = DATASETS_OF[modality]
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}; {hint(name, known)}")
    if modality_name(name) != modality:
        raise ValueError(f"{name!r} holds {modality_name(name)} data, not {modality} data; known: {', '.join(known)}")
    if RESERVED_IN_NAMES in name:
        raise ValueError(f"{RESERVED_IN_NAMES!r} stands for a transfer in results; rename the data set {name!r}")
    return name


def require_dataset_at(name: str, modality: str, *path: str | int) -> None:
    """Like :func:`require_dataset`, for validators: the mistake is told to be at ``path``."""
    try:
        require_dataset(name, modality)
    except ValueError as error:
        raise refusal(str(error), *path, value=name) from None


def _require_image(name: str) -> str:
    return require_dataset(name, "image")


ImageDataset = Annotated[str, AfterValidator(_require_image)]
