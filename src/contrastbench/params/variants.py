"""Variants of methods, and the labels that they may have."""

import re
from collections.abc import Mapping
from operator import not_
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from contrastbench.params.base import Section, overlay, refusal
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


def nested(changes: Any) -> Any:
    """``a.b: 1`` as ``a: {b: 1}``; ValueError where a key is given twice. What is no mapping stays as it is."""
    if not isinstance(changes, dict):
        return changes
    found: dict[str, Any] = {}
    for key, value in changes.items():
        for part in reversed(key.split(".")):
            value = {part: value}
        twice = flat(found).keys() & flat(value).keys()
        if twice:
            raise ValueError(f"{min(twice)} is given twice")
        found = overlay(found, value)
    return found


def flat(changes: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The opposite of :func:`nested`: every value by its dotted key."""
    found: dict[str, Any] = {}
    for key, value in changes.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


# What of a section is to be another than the track's.
Changes = Annotated[dict[str, Any], Field(default_factory=dict, exclude_if=not_)]
Nested = BeforeValidator(nested)  # of changes that may be written with dotted keys


class Variant(Section):
    """A method with something changed, under a label of its own; that is how ablations are made.

    Changes may be written as sections or, as tables name them, with dotted keys: ``training.epochs: 15``.
    """

    method: str
    settings: Changes

    @model_validator(mode="before")
    @classmethod
    def _dotted_keys(cls, content: Any) -> Any:
        return nested(content)

    def changes(self) -> dict[str, dict[str, Any]]:
        """What it changes, by section."""
        return {name: getattr(self, name) for name in type(self).model_fields if name != "method"}

    def with_changes(self, changes: Mapping[str, Any]) -> Self:
        """The same variant with more ``changes``, by section."""
        return self.model_copy(update={name: overlay(getattr(self, name), inner) for name, inner in changes.items()})


class ImageVariant(Variant):
    """A variant on images may also change what every training on a track reads."""

    encoder: Changes
    projector: Changes
    augment: Changes
    training: Changes


class GraphVariant(Variant):
    """A variant on graphs, likewise."""

    encoder: Changes
    augment: Changes
    training: Changes


class AudioVariant(Variant):
    """A variant on sound, likewise. One that changes how a masked autoencoder is trained starts from one of its own."""

    encoder: Changes
    decoder: Changes
    pretraining: Changes
    augment: Changes
    tuning: Changes

    @model_validator(mode="before")
    @classmethod
    def _hears_what_the_track_hears(cls, content: Any) -> Any:
        found = nested(content)
        if isinstance(found, dict) and "front_end" in found:
            raise refusal("all variants of a track share its spectrograms; change `front_end` in a preset", "front_end")
        return found
