"""A track of images: an encoder and a projector, trained in one go."""

from collections.abc import Mapping
from itertools import product
from typing import Annotated, ClassVar, Self

from pydantic import Field, SerializeAsAny, model_validator

from contrastbench.params.base import Section, SectionFrom, overlay, refusal
from contrastbench.params.diagnostics import DiagnosticsParams
from contrastbench.params.evaluation import ScratchParams
from contrastbench.params.images import AugmentParams, EncoderParams, ProjectorParams
from contrastbench.params.search import SearchParams
from contrastbench.params.settings import settings_of_modality
from contrastbench.params.track import TrackParams
from contrastbench.params.training import TrainingParams
from contrastbench.params.variants import ImageVariant, Label, require_label


class ImagePretrainParams(ScratchParams):
    """What training an image method reads."""

    modality: ClassVar[str] = "image"
    encoder: EncoderParams
    projector: ProjectorParams
    augment: AugmentParams
    settings: SerializeAsAny[Section]


class ImageTrack(TrackParams):
    """A section of params.yaml. ``search`` says which learning rates its search target tries, with which methods."""

    modality: ClassVar[str] = "image"
    refuses: ClassVar[dict[str, str]] = {"audio_attack": "this section attacks sound"}
    changed: ClassVar[tuple[str, ...]] = ("encoder", "projector", "augment", "training")

    variants: Mapping[Label, ImageVariant]
    encoder: EncoderParams
    projector: ProjectorParams
    augment: AugmentParams
    training: TrainingParams
    settings: Annotated[Section, SectionFrom(lambda: settings_of_modality("image"))]
    search: SearchParams | None = Field(default=None, exclude_if=lambda value: value is None)
    diagnostics: DiagnosticsParams | None = Field(default=None, exclude_if=lambda value: value is None)

    @model_validator(mode="after")
    def _trials_can_run(self) -> Self:
        if self.search is None:
            return self
        if self.robustness is None:
            raise refusal("trials are judged under attack: the track needs a section `robustness`", "search")
        if self.search.seed in self.seeds:
            raise refusal("must be none of the track's `seeds`", "search", "seed", value=self.search.seed)
        for position, label in enumerate(self.search.methods):
            if label not in self.variants:
                self._check(label, "search", "methods", position)
        for label in self.trials():
            try:
                require_label(label)
            except ValueError as error:
                raise refusal(f"of the trial {label!r}: {error}", "search") from None
            if label in self.variants:
                raise refusal("is the label of a trial of `search`; choose another name", "variants", label)
            self._check_training(label, "search")
        return self

    def trials(self) -> dict[str, tuple[str, float]]:
        """The method or variant, and the learning rate, of every trial of ``search``, by the trial's label."""
        if self.search is None:
            return {}
        tried = product(self.search.methods, self.search.learning_rates)
        return {f"{label}-lr-{rate:g}".replace(".", "_"): (label, rate) for label, rate in tried}

    def variant(self, label: str) -> ImageVariant | None:
        """The variant of this label, be it a trial's; None for a method."""
        tried = self.trials().get(label)
        if tried is None or self.search is None:
            return self.variants.get(label)
        base = self.variants.get(tried[0]) or ImageVariant.model_validate({"method": tried[0]})
        changes = {"epochs": self.search.epochs, "learning_rate": tried[1]}
        return base.model_copy(update={"training": overlay(base.training, changes)})

    def training_of(self, label: str) -> tuple[TrainingParams, ...]:
        """The one training run: the same for all methods, and for variants that do not change it."""
        return (self.sections_of(label)["training"],)

    def pretrain(self, label: str, dataset: str) -> ImagePretrainParams:
        """The resolved parameters of one method or variant (the same for every data set)."""
        return ImagePretrainParams(
            track=self._name,
            method=self.base_method(label),
            settings=self.checked_settings(label),
            **self.sections_of(label),
        )
