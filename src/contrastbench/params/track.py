"""A track: data sets of one modality, methods, seeds, variants of methods, and the sections that they are judged by."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import AfterValidator, Field, PrivateAttr, ValidationError, field_validator, model_validator

from contrastbench.errors import UserError
from contrastbench.params.audio import AudioAttackParams
from contrastbench.params.base import Section, explain, from_plain, moved, overlay, refusal
from contrastbench.params.corruptions import CorruptionsParams
from contrastbench.params.dataset_names import require_dataset_at
from contrastbench.params.evaluation import FewShotParams, LowShotParams, PretrainParams, ProbeParams, Transfer
from contrastbench.params.robustness import RobustnessParams
from contrastbench.params.settings import MethodSettings
from contrastbench.params.training import TrainingParams
from contrastbench.params.values import LONGEST_LIST, Seed, without_repeats
from contrastbench.params.variants import Label, Variant
from contrastbench.registry import (
    METHODS,
    WITHOUT_ENCODER,
    hint,
    methods_of,
    settings_class,
    settings_key,
    starts_from,
)

T = TypeVar("T", bound=Section)
_JUDGING = ("few_shot", "low_shot", "audio_attack")  # sections that name, for each data set, those judged on


def _absent(value: object) -> bool:
    return value is None or value == ()


class TrackParams(Section):
    """A track. Each modality has a subclass, which adds what training reads.

    modality   of the data sets and methods
    refuses    sections that make no sense for the modality, and why
    changed    sections that training reads and variants may change, besides the method's settings

    methods    what the default target runs: methods or labels of variants
    ablation   labels of the variants (or methods) that the ablation target runs, with the track's seeds
    cost       the same of the cost target: methods at several lengths of training, the first of which sets the costs
               that all are compared at
    settings   one section per method, under its name with ``_`` for ``-``; methods without settings need none
    probe      and what follows: how encoders are judged; a section that is left out is not run
    """

    modality: ClassVar[str]
    refuses: ClassVar[dict[str, str]] = {}
    changed: ClassVar[tuple[str, ...]] = ()

    datasets: tuple[str, ...] = Field(min_length=1)
    methods: tuple[str, ...] = Field(min_length=1)
    seeds: tuple[Seed, ...] = Field(min_length=1, max_length=LONGEST_LIST)
    variants: Mapping[Label, Variant]
    ablation: tuple[str, ...]
    cost: tuple[str, ...] = Field(default=(), exclude_if=_absent)
    settings: Section
    probe: ProbeParams
    transfer: Annotated[tuple[Transfer, ...], AfterValidator(without_repeats)] = Field(default=(), exclude_if=_absent)
    few_shot: FewShotParams | None = Field(default=None, exclude_if=_absent)
    low_shot: LowShotParams | None = Field(default=None, exclude_if=_absent)
    corruptions: CorruptionsParams | None = Field(default=None, exclude_if=_absent)
    robustness: RobustnessParams | None = Field(default=None, exclude_if=_absent)
    audio_attack: AudioAttackParams | None = Field(default=None, exclude_if=_absent)

    _name: str = PrivateAttr()  # set by the section that holds the track

    @field_validator("datasets", "methods", "seeds", "ablation", "cost")
    @classmethod
    def _no_repeats(cls, values: tuple) -> tuple:
        return without_repeats(values)

    @model_validator(mode="after")
    def _sections_fit_the_modality(self) -> Self:
        for section, reason in self.refuses.items():
            if not _absent(getattr(self, section)):
                raise refusal(f"{reason}, and this track takes {self.modality} data; remove the section", section)
        for position, name in enumerate(self.datasets):
            require_dataset_at(name, self.modality, "datasets", position)
        for position, pair in enumerate(self.transfer):
            require_dataset_at(pair.train, self.modality, "transfer", position, "train")
            require_dataset_at(pair.probe, self.modality, "transfer", position, "probe")
            if pair.train == pair.probe:
                raise refusal("must be another data set than `train`", "transfer", position, "probe", value=pair.probe)
        for section in _JUDGING:
            params: FewShotParams | LowShotParams | AudioAttackParams | None = getattr(self, section)
            for trained, judged in params.datasets.items() if params else ():
                require_dataset_at(trained, self.modality, section, "datasets", trained)
                for position, name in enumerate(judged):
                    require_dataset_at(name, self.modality, section, "datasets", trained, position)
        for name in self.few_shot.class_of if self.few_shot else ():
            require_dataset_at(name, self.modality, "few_shot", "class_of", name)
        return self

    @model_validator(mode="after")
    def _radii_are_known(self) -> Self:
        budgets = self.robustness.budgets if self.robustness else None
        trained = [(name, ("datasets", position)) for position, name in enumerate(self.datasets)]
        judged = [(pair.probe, ("transfer", position, "probe")) for position, pair in enumerate(self.transfer)]
        for name, path in (*trained, *judged):
            if budgets is not None and name not in budgets:
                message = f"no radii for it in robustness.budgets; there are {', '.join(budgets) or 'none'}"
                raise refusal(message, *path, value=name)
        return self

    @model_validator(mode="after")
    def _labels_are_known(self) -> Self:
        for label, variant in self.variants.items():
            twins = [name for name in (*METHODS, *self.variants) if settings_key(name) == settings_key(label)]
            if len(twins) > 1:  # one key of `settings`
                message = f"{twins[0]!r} and {twins[1]!r} differ in - and _ only; choose another name"
                raise refusal(message, "variants", label)
            self._check(variant.method, "variants", label, "method")
        for key in ("methods", "ablation", "cost"):
            for position, label in enumerate(getattr(self, key)):
                if label not in WITHOUT_ENCODER and label not in self.variants:
                    self._check(label, key, position)
                    self._check_training(label, "settings", settings_key(label))
        for label in self.variants:
            self._check_training(label, "variants", label)
        return self

    def _check(self, method: str, *path: str | int) -> None:
        """Refuse, at ``path``, a method that this track cannot train."""
        try:
            self._of_method(method)
            start = starts_from(method)
            if start:
                self._of_method(start)
        except ValueError as error:
            raise refusal(str(error), *path, value=method) from None

    def _check_training(self, label: str, *path: str | int) -> None:
        """Refuse, at ``path``, settings that do not fit the training; elsewhere, what a variant changes wrongly."""
        settings = self.settings_of(label)
        self.sections_of(label)
        try:
            self.require_fit(label, settings)
        except ValueError as error:
            raise refusal(str(error), *path) from None

    def require_fit(self, label: str, settings: MethodSettings) -> None:
        """ValueError where the ``settings`` of a method or variant do not fit what the track trains it by."""
        for training in self.training_of(label):
            settings.check_batch(training.batch_size)

    def trials(self) -> dict[str, tuple[str, float]]:
        """The method or variant, and the learning rate, of every trial of a search, by the trial's label."""
        return {}

    def variant(self, label: str) -> Variant | None:
        """The variant of this label, be it a trial's; None for a method."""
        return self.variants.get(label)

    def base_method(self, label: str) -> str:
        """The registered method behind a method's name or a variant's label."""
        variant = self.variant(label)
        return variant.method if variant else label

    def settings_of(self, label: str) -> MethodSettings:
        """The settings of a method, or of a variant with its changes made; ValueError for unknown ones."""
        settings = self._of_method(self.base_method(label))
        return self._varied(label, "settings", settings)

    def sections_of(self, label: str) -> dict[str, Any]:
        """The sections that training reads (``changed``) by name, with the changes of a variant made."""
        return {name: self._varied(label, name, getattr(self, name)) for name in self.changed}

    def _varied(self, label: str, key: str, section: T) -> T:
        """``section`` with what a variant says under ``key`` changed; as it is for a method."""
        changes = getattr(self.variant(label), key, None)
        if not changes:
            return section
        try:
            # Through the model again, so that a variant's values are held to the same ranges.
            return from_plain(type(section), overlay(section.model_dump(mode="json"), changes))
        except ValidationError as error:
            raise moved(error, type(section), "variants", label, key) from None

    def checked_settings(self, label: str) -> MethodSettings:
        """Like :meth:`settings_of`, with a UserError for the command line."""
        try:
            return self.settings_of(label)
        except ValidationError as error:
            raise UserError(explain(type(self), error)) from None
        except ValueError as error:
            raise UserError(str(error)) from None

    def training_of(self, label: str) -> tuple[TrainingParams, ...]:
        """The training runs of a method or variant itself, one after another."""
        raise NotImplementedError

    def pretrain(self, label: str, dataset: str) -> PretrainParams:
        """The resolved parameters of one method or variant: what its stage, ``pretrain`` or ``tune``, reads."""
        raise NotImplementedError

    def _of_method(self, method: str) -> MethodSettings:
        """The settings of a registered method; ValueError for one that this track cannot train."""
        if method in self.variants:
            registered = self.variants[method].method
            raise ValueError(f"{method!r} is a variant itself; name the registered method, {registered!r}")
        if method in WITHOUT_ENCODER:
            raise ValueError(f"{method!r} is a reference row without an encoder; it has no settings")
        if method not in METHODS:
            names = [*WITHOUT_ENCODER, *methods_of(self.modality), *self.variants]
            raise ValueError(f"unknown method {method!r}; {hint(method, names)}")
        if self.modality not in METHODS[method].modalities:
            takes = " and ".join(METHODS[method].modalities)
            raise ValueError(f"the method {method!r} takes {takes} data, and this track {self.modality} data")
        declared = settings_class(method)
        given = getattr(self.settings, settings_key(method))
        if given is not None:
            return given
        if declared.model_fields:
            raise ValueError(f"the method {method!r} needs a section settings.{settings_key(method)} in this track")
        return declared()
