"""Variants of methods, and the labels that they may have."""

import re
from operator import not_
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from contrastbench.params.base import Section
from contrastbench.registry import METHODS, RESERVED_IN_NAMES, RESERVED_NAME, WITHOUT_ENCODER


def require_label(label: str) -> str:
    """A variant's label is a wildcard of Snakemake's rules (``Snakefile``), a folder's name, and no other name."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,99}", label):
        near = re.sub(r"[^a-z0-9_-]", "-", label.lower()).lstrip("-_")[:100]
        hint = f", for example {near!r}" if near else ""
        raise ValueError(f"a variant's label is made of a to z, 0 to 9, - and _ (the last two not at its start){hint}")
    if label in METHODS or label in WITHOUT_ENCODER:
        raise ValueError(f"{label!r} is the name of a method; choose another name")
    if label == RESERVED_NAME:
        raise ValueError(f"{label!r} stands for every seed and method in results; choose another name")
    if RESERVED_IN_NAMES in label:
        raise ValueError(f"{RESERVED_IN_NAMES!r} stands for a transfer in results; choose another name")
    return label


Label = Annotated[str, AfterValidator(require_label)]


# What of a section is to be another than the track's.
Changes = Annotated[dict[str, Any], Field(default_factory=dict, exclude_if=not_)]


class Variant(Section):
    """A method with something changed, under a label of its own; that is how ablations are made."""

    method: str
    settings: Changes


class ImageVariant(Variant):
    """A variant on images may also change what every training on a track reads."""

    encoder: Changes
    projector: Changes
    augment: Changes
    training: Changes
