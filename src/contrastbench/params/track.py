"""What the three tracks share: data sets, methods, seeds, and variants of methods."""

import difflib
import re
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from contrastbench.errors import UserError
from contrastbench.params.base import Section, explain, without_repeats
from contrastbench.params.evaluation import ProbeParams
from contrastbench.registry import METHODS, WITHOUT_ENCODER

MOST_SEEDS = 2**32  # scikit-learn takes no larger ones
Seed = Annotated[int, Field(ge=0, lt=MOST_SEEDS)]


def _require_label(label: str) -> str:
    """A variant's label is a wildcard of Snakemake's rules (``Snakefile``), and a folder's name."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,99}", label):
        near = re.sub(r"[^a-z0-9_-]", "-", label.lower()).lstrip("-_")[:100]
        hint = f", for example {near!r}" if near else ""
        raise ValueError(f"a variant's label is made of a to z, 0 to 9, - and _ (the last two not at its start){hint}")
    return label


Label = Annotated[str, AfterValidator(_require_label)]


class Variant(Section):
    """A method with some settings changed, under a label of its own; that is how ablations are made."""

    method: str
    settings: dict[str, Any]


class NoSettings(Section):
    """The settings of methods that have none."""


class TrackParams(Section):
    """A track. Subclasses add ``settings`` (one Section per method) and what training reads.

    modality        of its data sets, as ``registry.py`` names it
    methods         what the default target runs: methods or labels of variants
    ablation        labels of the variants (or methods) that the ablation target runs, with the track's seeds
    """

    modality: ClassVar[str]

    datasets: tuple[str, ...] = Field(min_length=1)
    methods: tuple[str, ...] = Field(min_length=1)
    seeds: tuple[Seed, ...] = Field(min_length=1)
    variants: dict[Label, Variant]
    ablation: tuple[str, ...]
    probe: ProbeParams

    @field_validator("datasets", "methods", "seeds", "ablation")
    @classmethod
    def _none_stands_twice(cls, values: tuple) -> tuple:
        return without_repeats(values)

    @model_validator(mode="after")
    def _labels_are_known(self) -> "TrackParams":
        for label in self.variants:
            if label in METHODS or label in WITHOUT_ENCODER:
                raise ValueError(f"the variant {label!r} has the name of a method; call it otherwise")
            twins = [name for name in (*METHODS, *self.variants) if name.replace("-", "_") == label.replace("-", "_")]
            if len(twins) > 1:  # one name of a Snakemake rule
                raise ValueError(f"{twins[0]!r} and {twins[1]!r} differ in - and _ only; call the variant otherwise")
        for label in (*self.methods, *self.ablation, *self.variants):
            if label not in WITHOUT_ENCODER:
                self.settings_of(label)
        return self

    def base_method(self, label: str) -> str:
        """The registered method behind a method's name or a variant's label."""
        if label in self.variants:
            return self.variants[label].method
        return label

    def settings_of(self, label: str) -> Section:
        """The settings of a method, or of a variant with its changes made; ValueError for unknown ones."""
        method = self.base_method(label)
        known: Section = getattr(self, "settings")  # noqa: B009  (each track declares its own)
        name = method.replace("-", "_")
        if method not in METHODS or (name not in type(known).model_fields and method != "random"):
            of_track = [field.replace("_", "-") for field in type(known).model_fields]
            names = [*WITHOUT_ENCODER, "random", *of_track, *self.variants]
            near = difflib.get_close_matches(label, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
            raise ValueError(f"unknown method {label!r}; {hint}")
        settings = NoSettings() if method == "random" else getattr(known, name)
        if label not in self.variants:
            return settings
        changes = self.variants[label].settings
        try:
            # Through the model again, so that a variant's values are held to the same ranges.
            return type(settings).model_validate(settings.model_dump() | _as_tuples(changes))
        except ValidationError as error:
            raise ValueError(f"variant {label!r}: {explain(type(settings), error)}") from None

    def checked_settings(self, label: str) -> Section:
        """Like :meth:`settings_of`, with a UserError for the command line."""
        try:
            return self.settings_of(label)
        except ValueError as error:
            raise UserError(str(error)) from None


def _as_tuples(changes: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in changes.items()}
