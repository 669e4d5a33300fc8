"""The one table of stages: what each reads and leaves, whose code a row of it names, and how its rows are shown.

Snakemake's rules, DVC's steps, the command line, ``compare``, tables, figures, ``list`` and ``plan`` go by it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from contrastbench.params.track import TrackParams
from contrastbench.pipeline.groups import (
    ATTACKS,
    AUDIO_ATTACKS,
    CORRUPTIONS,
    DIAGNOSTICS,
    FEW_SHOT,
    FOLDS,
    FROZEN,
    HEAD_CORRUPTIONS,
    INDUCTIVE,
    LOW_SHOT,
    OWN_ATTACKS,
    TRANSFERRED,
    VALIDATION,
    VALIDATION_FEW_SHOT,
    VALIDATION_KNN,
    Group,
)
from contrastbench.pipeline.layout import pair
from contrastbench.results.protocols import Protocol


class Scope(Enum):
    """What one job of a stage takes. Where starting Python takes longer than the work, it takes all seeds."""

    DATASET = "a data set"
    SEED = "a method on a data set, with one seed"
    SEEDS = "a method on a data set, with all seeds"
    METHODS = "all methods on a data set, with one seed"
    TRACK = "a track"
    PRESET = "everything"


def _own(track: TrackParams, *sections: str) -> list[str]:
    return list(track.datasets)


def _transfer(track: TrackParams, section: str) -> list[str]:
    return [pair(each.train, each.probe) for each in track.transfer]


def _chosen(track: TrackParams, section: str) -> list[str]:
    datasets = getattr(track, section).datasets
    return [pair(trained, judged) for trained in track.datasets for judged in datasets.get(trained, ())]


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline: ``stages/NAME.py`` does the work, ``contrastbench NAME`` calls it.

    scope     what one job takes
    says      one sentence for the command's help
    reads     its inputs: ``data`` (trained on), ``judged data``, ``judged sound``, ``weights`` with the record of their
              training, ``start`` (the same of the encoder that tuning begins with), ``common weights`` (of the one on
              which all methods are looked at), ``features``, ``classifiers``
    leaves    its files in ``runs/PRESET/NAME/TRACK/DATASET/METHOD/SEED/``
    rows      whether it writes result rows
    sections  the track's sections that decide what it measures, besides training's; a track without one of them
              does not have the stage
    unless    a section with which a track has another stage in place of this one
    datasets  the data sets, or pairs of them, that a track has it for
    code      the stages after training whose code a row names
    encoder   whether it is for methods with an encoder only, not for reference rows
    contrasts whether it is for methods only whose loss can be held against NT-Xent's
    variants  whether it judges what other targets name too, or only a track's ``methods``
    groups    the tables that its rows are shown in, in this order
    measure   of a search: the stage judges the trials of a track that goes by it, and nothing else
    batch     the parameter to lower where the memory of a GPU does not hold its batches; where there is none, its
              batches adapt to the GPU
    """

    name: str
    scope: Scope
    says: str = ""
    reads: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ()
    rows: bool = False
    sections: tuple[str, ...] = ()
    unless: str = ""
    datasets: Callable[..., list[str]] = _own
    code: tuple[str, ...] = ()
    encoder: bool = False
    contrasts: bool = False
    variants: bool = True
    groups: tuple[Group, ...] = ()
    measure: str = ""
    batch: str = ""

    def data(self, track: TrackParams) -> list[str]:
        """The data sets, or pairs of them, that it runs on in a track; none where the track's sections rule it out."""
        if any(getattr(track, name, None) is None for name in self.sections):
            return []
        if self.unless and getattr(track, self.unless, None) is not None:
            return []
        if self.measure and (track.search is None or track.search.measure != self.measure):
            return []
        return self.datasets(track, *self.sections)

    @property
    def takes_pairs(self) -> bool:
        """Whether it judges on other data sets than were trained on."""
        return self.datasets is not _own

    @property
    def pairs(self) -> str:
        """The key of a track that lists the pairs that it judges on."""
        return "transfer" if self.datasets is _transfer else "".join(self.sections)

    @property
    def rule(self) -> str:
        """Snakemake's rule for it: stages that judge an encoder with all seeds are one rule, and those of trials.

        The former without one that waits for attacks: a cluster takes jobs of this rule and the features that attacks
        need as one job.
        """
        if self.measure:
            return "validate"
        return "judge" if self.scope is Scope.SEEDS and "classifiers" not in self.reads else self.name

    @property
    def command(self) -> str:
        """Its name on the command line."""
        return self.name.replace("_", "-")


_DATA_STAGES = (
    Stage("prepare", Scope.DATASET),
    Stage("spectrograms", Scope.DATASET),
)
_TRAINING_STAGES = (
    Stage(
        "pretrain",
        Scope.SEED,
        "Train one method on one data set with one seed; a killed run continues from its checkpoint.",
        ("data",),
        ("model.safetensors", "history.csv", "run.json"),
        encoder=True,
        batch="training.batch_size",
    ),
    Stage(
        "tune",
        Scope.SEED,
        "Tune a trained encoder of the same data set and seed; a killed run continues from its checkpoint.",
        ("data", "start"),
        ("model.safetensors", "history.csv", "run.json"),
        encoder=True,
        batch="training.batch_size of the step",
    ),
)
_JUDGING_STAGES = (
    Stage(
        "features",
        Scope.SEED,
        "Extract the frozen features of trained encoders, for every split.",
        ("data", "weights"),
        ("features.safetensors",),
    ),
    Stage(
        "probe",
        Scope.SEEDS,
        "Judge cached features: linear probe, low-label probe and kNN; writes result rows.",
        ("data", "weights", "features"),
        rows=True,
        sections=("probe",),
        unless="folds",
        code=("features", "probe"),
        groups=FROZEN,
    ),
    Stage(
        "transfer_probe",
        Scope.SEEDS,
        "Judge encoders on another data set than they were trained on; writes result rows.",
        ("data", "judged data", "weights"),
        rows=True,
        sections=("probe",),
        datasets=_transfer,
        code=("features", "transfer_probe"),
        encoder=True,
        groups=FROZEN,
    ),
    Stage(
        "cross_validate",
        Scope.SEEDS,
        "Judge features of graphs in stratified folds: SVM, linear and low-label probe, kNN; writes result rows.",
        ("data", "weights", "features"),
        rows=True,
        sections=("folds", "probe"),
        code=("features", "cross_validate"),
        groups=FOLDS,
    ),
    Stage(
        "inductive",
        Scope.SEEDS,
        "Train an encoder on the training part of each fold and judge it on the rest; writes result rows.",
        ("data", "weights"),  # the record of the training on all graphs says the device
        rows=True,
        sections=("folds", "probe", "inductive"),
        code=("features", "inductive"),
        encoder=True,
        groups=INDUCTIVE,
        batch="training.batch_size",
    ),
    Stage(
        "few_shot",
        Scope.SEEDS,
        "Judge encoders on N-way K-shot episodes; writes result rows.",
        ("data", "judged data", "weights", "features"),
        rows=True,
        sections=("few_shot",),
        datasets=_chosen,
        code=("features", "few_shot"),
        groups=FEW_SHOT,
    ),
    Stage(
        "low_shot",
        Scope.SEEDS,
        "Judge encoders with a few labels per class; writes result rows.",
        ("data", "judged data", "weights", "features"),
        rows=True,
        sections=("low_shot",),
        datasets=_chosen,
        code=("features", "low_shot"),
        groups=LOW_SHOT,
    ),
    Stage(
        "corruptions",
        Scope.SEEDS,
        "Judge encoders on corrupted test images; writes result rows.",
        ("data", "weights", "features"),
        rows=True,
        sections=("corruptions", "probe"),
        unless="robustness",
        code=("features", "corruptions"),
        encoder=True,
        variants=False,
        groups=CORRUPTIONS,
    ),
    Stage(
        "diagnostics",
        Scope.SEEDS,
        "Say how far a contrastive loss is from NT-Xent, and which negatives it weights; writes result rows.",
        ("data", "weights", "history", "common weights"),
        rows=True,
        sections=("diagnostics",),
        code=("diagnostics",),
        encoder=True,
        contrasts=True,
        groups=DIAGNOSTICS,
    ),
    Stage(
        "audio_attack",
        Scope.SEEDS,
        "Attack a linear classifier of sound, on its spectrograms and on the waveform; writes result rows.",
        ("data", "judged data", "judged sound", "weights", "features"),
        rows=True,
        sections=("audio_attack",),
        datasets=_chosen,
        code=("features", "audio_attack"),
        encoder=True,
        groups=AUDIO_ATTACKS,
    ),
    Stage(
        "attack",
        Scope.SEED,
        "Fit classifiers on one trained encoder and attack them; a killed run continues where it stopped.",
        ("data", "weights", "features"),
        ("classifiers.safetensors", "verdicts.npz"),
        rows=True,
        sections=("robustness",),
        code=("features", "attack"),
        encoder=True,
        groups=ATTACKS,
        batch="robustness.batch_size",
    ),
    Stage(
        "head_corruptions",
        Scope.SEEDS,
        "Judge every classifier that attack left on corrupted images; writes result rows.",
        ("data", "weights", "classifiers"),
        rows=True,
        sections=("corruptions", "robustness"),
        code=("features", "attack", "head_corruptions"),
        encoder=True,
        variants=False,
        groups=(*CORRUPTIONS, *HEAD_CORRUPTIONS),
    ),
    Stage(
        "own_attack",
        Scope.SEED,
        "Attack every classifier that attack left with attacks of one's own (plugins); writes result rows.",
        ("data", "weights", "classifiers"),
        rows=True,
        sections=("robustness", "own_attacks"),
        code=("features", "attack", "own_attack"),
        encoder=True,
        groups=OWN_ATTACKS,
        batch="robustness.batch_size",
    ),
    Stage(
        "validate",
        Scope.SEED,
        "Attack one encoder's classifier on validation images, to choose how it is trained; writes result rows.",
        ("data", "weights", "features"),
        rows=True,
        sections=("robustness",),
        code=("features", "validate"),
        encoder=True,
        groups=VALIDATION,
        measure="pgd",
        batch="robustness.batch_size",
    ),
    Stage(
        "validate_knn",
        Scope.SEED,
        "Judge one encoder's features by nearest neighbours on validation data, to choose how it is trained.",
        ("data", "weights", "features"),
        rows=True,
        sections=("probe",),
        code=("features", "validate_knn"),
        encoder=True,
        groups=VALIDATION_KNN,
        measure="knn",
    ),
    Stage(
        "validate_few_shot",
        Scope.SEED,
        "Judge one encoder on few-shot episodes of validation clips, to choose how it is trained.",
        ("data", "judged data", "weights", "features"),
        rows=True,
        sections=("few_shot",),
        datasets=_chosen,
        code=("features", "validate_few_shot"),
        encoder=True,
        groups=VALIDATION_FEW_SHOT,
        measure="few-shot",
    ),
    Stage(
        "shifted_attack",
        Scope.SEEDS,
        "Attack classifiers of other data than their encoder was trained on; a killed run continues.",
        ("data", "judged data", "weights"),
        rows=True,
        sections=("robustness",),
        datasets=_transfer,
        code=("features", "shifted_attack"),
        encoder=True,
        variants=False,
        groups=ATTACKS,
        batch="robustness.batch_size",
    ),
    Stage(
        "transfer_attack",
        Scope.METHODS,
        "Attack every attacked method with the images crafted on every other; writes result rows.",
        ("data", "weights", "classifiers"),
        rows=True,
        sections=("robustness",),
        code=("features", "attack", "transfer_attack"),
        encoder=True,
        groups=TRANSFERRED,
        batch="robustness.batch_size",
    ),
)
_SHOWING_STAGES = (
    Stage("figures", Scope.METHODS, reads=("data", "weights", "classifiers")),
    Stage("tables", Scope.TRACK),
    Stage("report", Scope.PRESET),
)

STAGES: dict[str, Stage] = {
    stage.name: stage for stage in (*_DATA_STAGES, *_TRAINING_STAGES, *_JUDGING_STAGES, *_SHOWING_STAGES)
}
TRAINING = tuple(stage.name for stage in _TRAINING_STAGES)
OF_SEEDS = ("pretrain", "features")  # stages whose jobs take all seeds of a track with `seeds_together`
WITH_ROWS = tuple(stage for stage in _JUDGING_STAGES if stage.rows)
GROUPS = tuple(dict.fromkeys(group for stage in WITH_ROWS for group in stage.groups))
OTHER = Group("Other protocols", "Each column is one protocol; see docs/protocols/.")


def group_of(protocol: Protocol) -> Group:
    """The table that a protocol belongs in; the order of GROUPS is that of the tables."""
    return next((group for group in GROUPS if group.holds(protocol)), OTHER)
