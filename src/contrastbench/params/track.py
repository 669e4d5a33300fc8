"""A track: data sets of one modality, methods, seeds, variants of methods, and the sections that they are judged by."""

import json
from collections.abc import Iterator, Mapping
from functools import reduce
from operator import not_
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import AfterValidator, Field, PrivateAttr, ValidationError, field_validator, model_validator

from contrastbench.errors import UserError
from contrastbench.params.audio import AudioAttackParams
from contrastbench.params.base import Section, SectionFrom, explain, from_plain, moved, overlay, refusal
from contrastbench.params.corruptions import CorruptionsParams
from contrastbench.params.dataset_names import require_dataset_at
from contrastbench.params.diagnostics import DiagnosticsParams
from contrastbench.params.evaluation import (
    CurveParams,
    FewShotParams,
    LowShotParams,
    PretrainParams,
    ProbeParams,
    Transfer,
)
from contrastbench.params.own_attacks import own_attacks, own_attacks_section
from contrastbench.params.robustness import RobustnessParams
from contrastbench.params.search import Dimension, SearchParams, Trial
from contrastbench.params.settings import MethodSettings
from contrastbench.params.training import TrainingParams
from contrastbench.params.values import LONGEST_LIST, Seed, without_repeats
from contrastbench.params.variants import Label, Variant, flat, nested, require_label
from contrastbench.registry import (
    METHODS,
    WITHOUT_ENCODER,
    contrasts,
    hint,
    methods_of,
    settings_class,
    settings_key,
    starts_from,
)

T = TypeVar("T", bound=Section)
_JUDGING = ("few_shot", "low_shot", "audio_attack")  # sections that name, for each data set, those judged on
# The section of parameters that each measure of a search goes by.
MEASURES = {"knn": "probe", "pgd": "robustness", "few-shot": "few_shot"}


def _absent(value: object) -> bool:
    return value is None or value == ()


class TrackParams(Section):
    """A track. Each modality has a subclass, which adds what training reads.

    modality   of the data sets and methods
    refuses    sections that make no sense for the modality, and why
    changed    sections that training reads and variants may change, besides the method's settings
    variant_class  of the variants

    seeds_together  whether one job trains a method with all seeds, and one extracts all features: where starting Python
               takes longer than the work
    methods    what the default target runs: methods or labels of variants
    ablation   labels of the variants (or methods) that the ablation target runs, with the track's seeds
    cost       the same of the cost target: methods at several lengths of training, the first of which sets the costs
               that all are compared at
    search     the space of settings that the search target tunes methods in, all with as many trials
    settings   one section per method, under its name with ``_`` for ``-``; methods without settings need none
    curve      the switch for learning curves, by the probe's kNN
    probe      and what follows: how encoders are judged; a section that is left out is not run
    """

    modality: ClassVar[str]
    refuses: ClassVar[dict[str, str]] = {}
    changed: ClassVar[tuple[str, ...]] = ()
    variant_class: ClassVar[type[Variant]] = Variant

    datasets: tuple[str, ...] = Field(min_length=1)
    methods: tuple[str, ...] = Field(min_length=1)
    seeds: tuple[Seed, ...] = Field(min_length=1, max_length=LONGEST_LIST)
    seeds_together: bool = Field(default=False, exclude_if=not_)
    variants: Mapping[Label, Variant]
    ablation: tuple[str, ...]
    cost: tuple[str, ...] = Field(default=(), exclude_if=_absent)
    search: SearchParams | None = Field(default=None, exclude_if=_absent)
    settings: Section
    curve: CurveParams = CurveParams()
    probe: ProbeParams
    transfer: Annotated[tuple[Transfer, ...], AfterValidator(without_repeats)] = Field(default=(), exclude_if=_absent)
    few_shot: FewShotParams | None = Field(default=None, exclude_if=_absent)
    low_shot: LowShotParams | None = Field(default=None, exclude_if=_absent)
    corruptions: CorruptionsParams | None = Field(default=None, exclude_if=_absent)
    robustness: RobustnessParams | None = Field(default=None, exclude_if=_absent)
    own_attacks: Annotated[Section | None, SectionFrom(lambda: own_attacks_section() | None)] = Field(
        default=None, exclude_if=_absent
    )
    diagnostics: DiagnosticsParams | None = Field(default=None, exclude_if=_absent)
    audio_attack: AudioAttackParams | None = Field(default=None, exclude_if=_absent)

    _name: str = PrivateAttr(default="")  # set by the section that holds the track

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
    def _own_attacks_have_radii(self) -> Self:
        for name, attack in own_attacks(self.own_attacks).items():
            if self.robustness is None:
                raise refusal("the track has no section `robustness`, whose classifiers they attack", "own_attacks")
            for dataset in self.datasets:
                if not attack.radii(name, self.robustness.budget(dataset)):
                    message = f"no radii: there are none of its norm in robustness.budgets.{dataset}"
                    raise refusal(message, "own_attacks", settings_key(name), "eps")
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
                if label in WITHOUT_ENCODER:
                    self._check_reference(label, key, position)
                elif label not in self.variants:
                    self._check(label, key, position)
                    self._check_fit(self._plain(label), "settings", settings_key(label))
        for label, variant in self.variants.items():
            self._check_fit(variant, "variants", label)
            self._check_read(variant, "variants", label)
        return self

    @model_validator(mode="after")
    def _trials_can_run(self) -> Self:
        search = self.search
        if search is None:
            return self
        section = MEASURES[search.measure]
        if getattr(self, section) is None:
            message = f"the track needs a section `{section}` to judge trials by"
            raise refusal(message, "search", "measure", value=search.measure)
        if search.seed in self.seeds:
            raise refusal("must be none of the track's `seeds`", "search", "seed", value=search.seed)
        for position, label in enumerate(search.methods):
            if label not in self.variants:
                self._check(label, "search", "methods", position)
            trial = Trial(label, search.trials - 1).label
            try:
                require_label(trial)
            except ValueError as error:
                raise refusal(f"of the trial {trial!r}: {error}", "search", "methods", position) from None
        for label in self.variants:
            if search.trial(label):
                raise refusal("is the label of a trial of `search`; choose another name", "variants", label)
        for label in search.own:
            if label not in self.variants:
                self._check(label, "search", "own", label)
        for label in search.methods:
            self._check_space(label, search)
        given = [name for name in methods_of(self.modality) if getattr(self.settings, settings_key(name)) is not None]
        known = {key for name in given for key in _keys(self._sections(self._plain(name)))}
        for key in search.shared:
            if key not in known:  # a preset with fewer methods may leave what none of them reads
                raise refusal(f"no method of the track has this key; {hint(key, known)}", "search", "shared", key)
        return self

    @model_validator(mode="after")
    def _common_encoder_contrasts(self) -> Self:
        """Its loss is like NT-Xent's, and so it has the projector that looking needs."""
        encoder = self.diagnostics.encoder if self.diagnostics else None
        if encoder and not contrasts(self.base_method(encoder)):
            known = [name for name in (*METHODS, *self.variants) if contrasts(self.base_method(name))]
            message = f"is no method that contrasts two views of a batch; {hint(encoder, known)}"
            raise refusal(message, "diagnostics", "encoder", value=encoder)
        return self

    def _check_reference(self, label: str, *path: str | int) -> None:
        """Refuse, at ``path``, a reference row that makes nothing of this track's data."""
        if self.modality not in WITHOUT_ENCODER[label]:
            takes = " and ".join(WITHOUT_ENCODER[label])
            message = f"the reference row {label!r} takes {takes} data, and this track {self.modality} data"
            raise refusal(message, *path, value=label)

    def _check(self, method: str, *path: str | int) -> None:
        """Refuse, at ``path``, a method that this track cannot train."""
        try:
            self._of_method(method)
            start = starts_from(method)
            if start:
                self._of_method(start)
        except ValueError as error:
            raise refusal(str(error), *path, value=method) from None

    def _check_fit(self, variant: Variant, *path: str | int) -> None:
        """Refuse what a variant changes wrongly, and, at ``path``, settings that do not fit what it is trained by."""
        sections = self._sections(variant, *path)
        try:
            self.require_fit(variant.method, sections)
        except ValueError as error:
            raise refusal(str(error), *path) from None

    def _check_read(self, variant: Variant, *path: str | int) -> None:
        """Refuse, at ``path``, a change of what the variant's training does not read."""
        before, now = self._sections(self._plain(variant.method)), self._sections(variant)
        for key in flat(variant.changes()):
            without = _put(now, key, _at(before, key))
            try:
                is_read = without == now or self.resolve(variant.method, without) != self.resolve(variant.method, now)
            except ValidationError:  # the other changes go with this one alone
                is_read = True
            if not is_read:
                raise refusal(f"{variant.method} does not read this key", *path, key)

    def _check_space(self, label: str, search: SearchParams) -> None:
        """Refuse ends of a range that a method cannot have, and a key of its own that it has not or does not read."""
        plain = self._untuned(label).with_changes(self._known(search.changes, "search", "changes"))
        self._check_fit(plain, "search", "changes")
        self._check_read(plain, "search", "changes")
        for place, space in ((("shared",), search.shared), (("own", label), search.own.get(label, {}))):
            for key, dimension in space.items():
                ends = [self._known(nested({key: end}), "search", *place) for end in dimension.extremes]
                if place == ("shared",) and not _has(self._sections(plain), key):
                    continue
                for number, changes in enumerate(ends):
                    try:
                        self._check_fit(plain.with_changes(changes))
                    except ValidationError as error:
                        if dimension.choice is None:
                            raise moved(error, type(self), "search", *place) from None
                        parts, chosen = len(key.split(".")), (key, "choice", number)
                        raise moved(error, type(self), "search", *place, *chosen, but=parts) from None
                if place != ("shared",) and not self._tunes(plain, key, dimension):
                    raise refusal(f"{label} does not read this key", "search", *place, key)

    def _known(self, changes: dict[str, Any], *path: str | int) -> dict[str, Any]:
        """``changes``, by section; a refusal where there is no such section."""
        known = ("settings", *self.changed)
        for name, inner in changes.items():
            if name not in known or not isinstance(inner, dict):
                raise refusal(f"must be a key of {', '.join(known)}", *path, name)
        return changes

    def _space(self, label: str, search: SearchParams) -> dict[str, Dimension]:
        """What is tuned of a method: of what all share that which it reads, and its own."""
        plain = self._untuned(label)
        shared = {key: each for key, each in search.shared.items() if self._tunes(plain, key, each)}
        return shared | search.own.get(label, {})

    def _tunes(self, variant: Variant, key: str, dimension: Dimension) -> bool:
        """Whether a variant has a key, and its training reads it: whether an end of the range makes a difference."""
        if not _has(self._sections(variant), key):
            return False
        ends = (self._sections(variant.with_changes(nested({key: end}))) for end in dimension.extremes)
        plain = self.resolve(variant.method, self._sections(variant))
        return any(self.resolve(variant.method, changed) != plain for changed in ends)

    def require_fit(self, method: str, sections: Mapping[str, Any]) -> None:
        """ValueError where the settings of a method do not fit what it is trained by."""
        for training in self.resolve(method, sections).phases():
            sections["settings"].check_batch(training.batch_size)

    def trials(self) -> list[str]:
        """The labels of the trials of the track's search, if it has one."""
        return [] if self.search is None else self.search.labels()

    def variant(self, label: str) -> Variant | None:
        """The variant of this label, be it a trial's; None for a method."""
        trial = self.search and self.search.trial(label)
        if not trial or self.search is None:
            return self.variants.get(label)
        found = self._untuned(trial.of).with_changes(self.search.changes)
        return found.with_changes(nested(self.tuned(trial)))

    def tuned(self, trial: Trial) -> dict[str, Any]:
        """What a trial of the search changes, by dotted key; nothing in the first one."""
        if self.search is None or trial.number == 0:
            return {}
        values = self.search.values(trial)
        return {key: values[key] for key in self._space(trial.of, self.search)}

    def base_method(self, label: str) -> str:
        """The registered method behind a method's name or a variant's label."""
        trial = self.search and self.search.trial(label)
        return self._untuned(trial.of if trial else label).method

    def modality_of(self, label: str) -> str:
        """The modality (``registry.py``) whose code builds and feeds the encoder of a method or variant."""
        return self.modality

    def start_of(self, label: str) -> str | None:
        """The method, or what else a job of the stage ``pretrain`` is called, whose weights ``label`` starts from."""
        return starts_from(self.base_method(label))

    def differs(self, label: str) -> str:
        """What a variant changes, for tables: ``beta 4.0, training.epochs 15``; nothing for a method."""
        variant = self.variant(label)
        return changes_text(flat(variant.changes())) if variant else ""

    def settings_of(self, label: str) -> MethodSettings:
        """The settings of a method, or of a variant with its changes made; ValueError for unknown ones."""
        return self._sections(self._named(label), "variants", label)["settings"]

    def sections_of(self, label: str) -> dict[str, Any]:
        """The sections that training reads (``changed``) by name, with the changes of a variant made."""
        return self._of_track(self._named(label), "variants", label)

    def _named(self, label: str) -> Variant:
        return self.variant(label) or self._plain(label)

    def _untuned(self, label: str) -> Variant:
        return self.variants.get(label) or self._plain(label)

    def _plain(self, method: str) -> Variant:
        """A method as it is, as a variant that changes nothing."""
        return self.variant_class.model_validate({"method": method})

    def _sections(self, variant: Variant, *path: str | int) -> dict[str, Any]:
        """``settings`` and the sections ``changed``, by name, with the changes of a variant made.

        What is changed wrongly is refused, and named as what the ``path`` leads to.
        """
        settings = _changed(self._of_method(variant.method), variant.settings, *path, "settings")
        return {"settings": settings, **self._of_track(variant, *path)}

    def _of_track(self, variant: Variant, *path: str | int) -> dict[str, Any]:
        return {name: _changed(getattr(self, name), getattr(variant, name), *path, name) for name in self.changed}

    def training_of(self, label: str) -> tuple[TrainingParams, ...]:
        """The training runs of a method or variant itself, one after another."""
        return self.pretrain(label, self.datasets[0]).phases()

    def pretrain(self, label: str, dataset: str) -> PretrainParams:
        """The resolved parameters of one method or variant: what its stage, ``pretrain`` or ``tune``, reads.

        They are the same for every data set. A UserError for an unknown label, and a trial that cannot be trained.
        """
        variant = self._named(label)
        try:
            sections = self._sections(variant, "variants", label)
        except ValidationError as error:
            raise UserError(explain(type(self), error)) from None
        except ValueError as error:
            raise UserError(str(error)) from None
        try:
            self.require_fit(variant.method, sections)
        except ValueError as error:
            raise UserError(f"{label}: {error}") from None
        return self.resolve(variant.method, sections)

    def resolve(self, method: str, sections: Mapping[str, Any]) -> PretrainParams:
        """What training a method reads of these ``sections``: its ``settings``, and those of the track."""
        raise NotImplementedError

    def _of_method(self, method: str) -> MethodSettings:
        """The settings of a registered method; ValueError for one that this track cannot train."""
        if method in self.variants:
            registered = self.variants[method].method
            raise ValueError(f"{method!r} is a variant itself; name the registered method, {registered!r}")
        if method in WITHOUT_ENCODER:
            raise ValueError(f"{method!r} is a reference row without an encoder; it has no settings")
        if method not in METHODS:
            references = [name for name, takes in WITHOUT_ENCODER.items() if self.modality in takes]
            names = [*references, *methods_of(self.modality), *self.variants]
            raise ValueError(f"unknown method {method!r}; {hint(method, names)}")
        if self.modality not in METHODS[method].modalities:
            takes = " and ".join(METHODS[method].modalities)
            raise ValueError(f"the method {method!r} takes {takes} data, and this track {self.modality} data")
        declared = settings_class(method)
        given = getattr(self.settings, settings_key(method))
        if given is not None:
            return given
        if any(field.is_required() for field in declared.model_fields.values()):
            raise ValueError(f"the method {method!r} needs a section settings.{settings_key(method)} in this track")
        return declared()


def _changed(section: T, changes: dict[str, Any], *path: str | int) -> T:
    """``section`` with ``changes`` made, held to the same ranges; a mistake is refused at ``path``."""
    if not changes:
        return section
    try:
        return from_plain(type(section), overlay(section.model_dump(mode="json"), changes))
    except ValidationError as error:
        raise moved(error, type(section), *path) from None


def changes_text(changes: Mapping[str, Any]) -> str:
    """Changes by dotted key as tables show them, without the word ``settings``."""
    texts = ((key.removeprefix("settings."), json.dumps(value).strip('"')) for key, value in changes.items())
    return ", ".join(f"{key} {text}" for key, text in texts)


def _keys(sections: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted keys of all values in ``sections``."""
    for name, value in sections.items():
        if isinstance(value, Section):
            yield from _keys(dict(value), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _has(sections: Mapping[str, Any], key: str) -> bool:
    return key in _keys(sections)


def _at(sections: Mapping[str, Any], key: str) -> Any:
    name, *path = key.split(".")
    return reduce(getattr, path, sections[name])


def _put(sections: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """``sections`` with ``value``, which is not checked, in the place of what the dotted ``key`` is."""
    name, _, rest = key.partition(".")
    if rest:
        value = sections[name].model_copy(update=_put(dict(sections[name]), rest, value))
    return {**sections, name: value}
