"""The one table of stages: what each reads and leaves, whose code a row of it names, and how its rows are shown.

Snakemake's rules, DVC's steps, the command line, ``compare``, tables, figures, ``list`` and ``plan`` go by it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from contrastbench.params.track import TrackParams
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


@dataclass(frozen=True)
class Curve:
    """Accuracy as a line over one part of a protocol.

    over  the part of the protocol; axis what it is called; zero the family whose value belongs at 0
    """

    over: str
    axis: str
    reading: str
    zero: str | None = None
    logarithmic: bool = False


@dataclass(frozen=True)
class Group:
    """Protocols that share a table: those of ``families`` (all if empty) with this ``norm`` and ``head``.

    title    heading of the table
    reading  how to read it, one sentence or two
    curves   how it is drawn as lines, over each part that some of its protocols have
    heat     whether its columns belong in the map of which attack broke what
    """

    title: str
    reading: str
    families: tuple[str, ...] = ()
    norm: str | None = None
    head: str | None = None
    curves: tuple[Curve, ...] = ()
    heat: bool = False

    def holds(self, protocol: Protocol) -> bool:
        """Whether ``protocol`` belongs in this table."""
        column = protocol.column
        return (
            (not self.families or column.family in self.families)
            and self.norm in (None, column.norm)
            and column.head == self.head
        )


def _own(track: TrackParams, section: str = "") -> list[str]:
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
    reads     its inputs: ``data`` (trained on), ``judged data``, ``judged sound``, ``weights``, ``start`` (the weights
              that tuning begins with), ``features``, ``classifiers``; other stages by name, for all of their jobs
    leaves    its files in ``runs/PRESET/NAME/TRACK/DATASET/METHOD/SEED/``
    rows      whether it writes result rows
    sections  the track's sections that decide what it measures, besides training's; a track without one of them
              does not have the stage
    datasets  the data sets, or pairs of them, that a track has it for
    code      the stages after training whose code a row names
    encoder   whether it is for methods with an encoder only, not for reference rows
    groups    the tables that its rows are shown in, in this order
    """

    name: str
    scope: Scope
    reads: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ()
    rows: bool = False
    sections: tuple[str, ...] = ()
    datasets: Callable[..., list[str]] = _own
    code: tuple[str, ...] = ()
    encoder: bool = False
    groups: tuple[Group, ...] = ()

    def data(self, track: TrackParams) -> list[str]:
        """The data sets, or pairs of them, that it runs on in a track; none where the track lacks a section of it."""
        if any(getattr(track, name, None) is None for name in self.sections):
            return []
        return self.datasets(track, *self.sections)

    @property
    def rule(self) -> str:
        """Snakemake's rule for it: stages that judge an encoder with all seeds are one rule."""
        return "judge" if self.scope is Scope.SEEDS else self.name

    @property
    def command(self) -> str:
        """Its name on the command line."""
        return self.name.replace("_", "-")


_FROZEN = (
    Group(
        "Frozen features",
        "The encoder is frozen. `linear`: logistic regression on all training labels; `low-label-N`: on N labels per "
        "class, several draws; `knn`: nearest neighbours. The rows `pixels` and `random` say what learning added.",
        ("linear", "knn", "low-label"),
        curves=(
            Curve("shots", "labels per class", "Frozen features, logistic regression on few labels.", logarithmic=True),
        ),
    ),
)
_ATTACKED = "Share of test images still classified correctly under the strongest perturbation found within the radius"
_RADIUS = Curve(
    "eps",
    "radius",
    "Share of test images still classified correctly as the radius grows, pixels in [0, 1]; radius 0 is clean "
    "accuracy.",
    "clean",
)
_BOUNDED = ("pgd", "foolbox-pgd", "autoattack", "apgd")
_ATTACKS = (
    Group(
        "Robust accuracy in l_inf",
        f"{_ATTACKED} (the number after @, on pixels in [0, 1]). Standard linear head on the frozen encoder; "
        "supervised methods keep their own. `worst-case` counts an image only if it withstands every attack up to the "
        "radius.",
        ("clean", "autoattack", "worst-case"),
        curves=(_RADIUS,),
        heat=True,
    ),
    Group(
        "PGD in l_inf",
        f"{_ATTACKED} (the number after @), by projected gradient descent with as many steps as the name says.",
        ("pgd",),
        norm="linf",
        curves=(_RADIUS,),
        heat=True,
    ),
    Group(
        "Other attacks in l_inf",
        f"{_ATTACKED} (the number after @). Noise is no attack and should do least harm; Square sees no gradients.",
        ("noise", "fgsm", "square", "foolbox-pgd", "apgd"),
        norm="linf",
        curves=(_RADIUS,),
        heat=True,
    ),
    *(
        Group(
            f"Attacks bounded in {norm}",
            f"{_ATTACKED} (the number after @, on pixels in [0, 1]).",
            _BOUNDED,
            norm=norm,
            curves=(_RADIUS,),
            heat=True,
        )
        for norm in ("l2", "l1")
    ),
    Group(
        "Smallest perturbation that fools",
        "Median over test images of the l2 distance to the nearest misclassified image that the attack found; larger "
        "is more robust.",
        ("deepfool", "cw", "ddn", "hopskipjump"),
    ),
    Group(
        "Adversarial linear head (ALF)",
        f"{_ATTACKED}; the linear head was trained on perturbed images, the encoder is frozen.",
        head="alf",
        curves=(_RADIUS,),
    ),
    Group(
        "Adversarial full fine-tuning (AFF)",
        f"{_ATTACKED}; encoder and head were trained on perturbed images with labels.",
        head="aff",
        curves=(_RADIUS,),
    ),
)
_TRANSFERRED = (
    Group(
        "Transfer of attacks",
        "Images that were perturbed against SOURCE, shown to the row's method (black box). The matrix is square: low "
        "values off the diagonal mean that perturbations carry over.",
        ("transfer",),
    ),
)
_FEW_SHOT = (
    Group(
        "Few-shot episodes",
        "N-way K-shot episodes on test clips: the accuracy of a classifier that saw K clips of each of N classes; "
        "n is the number of episodes, chance is 1/N.",
        ("few-shot",),
        curves=(Curve("shots", "shots", "Mean accuracy over episodes.", logarithmic=True),),
    ),
)
_LOW_SHOT = (
    Group(
        "Low-shot regression",
        "Logistic regression on N labelled clips per class, frozen encoder; `A-to-B` is trained on A, judged on B.",
        ("low-shot",),
        curves=(
            Curve("shots", "labels per class", "Frozen features, logistic regression on few clips.", logarithmic=True),
        ),
    ),
)
_SOUND = "Share of test segments still classified correctly by a linear head on the frozen encoder"
_AUDIO_ATTACKS = (
    Group(
        "Attacks on sound",
        f"{_SOUND}. `spectrogram`: PGD within the l_inf radius after @ on normalised log-mels (1 is two standard "
        "deviations); `waveform`: PGD on the samples through the front end, at the signal-to-noise ratio after @; "
        "`noise`: random noise of that energy.",
        ("audio-clean", "audio-pgd-spectrogram", "audio-pgd-waveform", "audio-noise"),
        curves=(
            Curve(
                "eps",
                "radius",
                f"{_SOUND} as the l_inf radius on its spectrogram grows (1 is two standard deviations); radius 0 is "
                "clean accuracy.",
                "audio-clean",
            ),
            Curve("snr_db", "signal-to-noise ratio in dB", f"{_SOUND}, over how quiet the perturbation is."),
        ),
    ),
)

_DATA_STAGES = (
    Stage("prepare", Scope.DATASET),
    Stage("spectrograms", Scope.DATASET),
)
_TRAINING_STAGES = (
    Stage("pretrain", Scope.SEED, ("data",), ("model.safetensors", "history.csv", "run.json"), encoder=True),
    Stage("tune", Scope.SEED, ("data", "start"), ("model.safetensors", "history.csv", "run.json"), encoder=True),
)
_JUDGING_STAGES = (
    Stage("features", Scope.SEED, ("data", "weights"), ("features.npz",)),
    Stage(
        "probe",
        Scope.SEEDS,
        ("data", "features"),
        rows=True,
        sections=("probe",),
        code=("features", "probe"),
        groups=_FROZEN,
    ),
    Stage(
        "transfer_probe",
        Scope.SEEDS,
        ("data", "judged data", "weights"),
        rows=True,
        sections=("probe",),
        datasets=_transfer,
        code=("features", "transfer_probe"),
        encoder=True,
        groups=_FROZEN,
    ),
    Stage(
        "few_shot",
        Scope.SEEDS,
        ("data", "judged data", "weights", "features"),
        rows=True,
        sections=("few_shot",),
        datasets=_chosen,
        code=("features", "few_shot"),
        groups=_FEW_SHOT,
    ),
    Stage(
        "low_shot",
        Scope.SEEDS,
        ("data", "judged data", "weights", "features"),
        rows=True,
        sections=("low_shot",),
        datasets=_chosen,
        code=("features", "low_shot"),
        groups=_LOW_SHOT,
    ),
    Stage(
        "audio_attack",
        Scope.SEEDS,
        ("data", "judged data", "judged sound", "weights", "features"),
        rows=True,
        sections=("audio_attack",),
        datasets=_chosen,
        code=("features", "audio_attack"),
        encoder=True,
        groups=_AUDIO_ATTACKS,
    ),
    Stage(
        "attack",
        Scope.SEED,
        ("data", "weights", "features"),
        ("classifiers.safetensors", "verdicts.npz"),
        rows=True,
        sections=("robustness",),
        code=("features", "attack"),
        encoder=True,
        groups=_ATTACKS,
    ),
    Stage(
        "transfer_attack",
        Scope.METHODS,
        ("data", "weights", "classifiers"),
        rows=True,
        sections=("robustness",),
        code=("features", "attack", "transfer_attack"),
        encoder=True,
        groups=_TRANSFERRED,
    ),
)
_SHOWING_STAGES = (
    Stage("figures", Scope.METHODS, ("data", "weights", "classifiers")),
    Stage("tables", Scope.TRACK),
    Stage("report", Scope.PRESET),
)

STAGES: dict[str, Stage] = {
    stage.name: stage for stage in (*_DATA_STAGES, *_TRAINING_STAGES, *_JUDGING_STAGES, *_SHOWING_STAGES)
}
TRAINING = tuple(stage.name for stage in _TRAINING_STAGES)
WITH_ROWS = tuple(stage for stage in _JUDGING_STAGES if stage.rows)
GROUPS = tuple(dict.fromkeys(group for stage in WITH_ROWS for group in stage.groups))
OTHER = Group("Other protocols", "Each column is one protocol; see docs/protocols/.")


def group_of(protocol: Protocol) -> Group:
    """The table that a protocol belongs in; the order of GROUPS is that of the tables."""
    return next((group for group in GROUPS if group.holds(protocol)), OTHER)
