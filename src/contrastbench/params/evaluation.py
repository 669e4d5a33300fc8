"""Parameters of the evaluation protocols that any track may hold, and of training as a stage reads them."""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, SerializeAsAny

from contrastbench.params.base import Section
from contrastbench.params.training import TrainingParams
from contrastbench.params.values import Draws, Labels, Neighbours, Positive, Shots, Strengths, without_repeats

Scaling = Literal["raw", "standardised", "whitened"]
Centre = Literal["training", "row"]
DatasetNames = Annotated[tuple[str, ...], AfterValidator(without_repeats)]


class ProbeParams(Section):
    """Linear probe, low-label probe and kNN on frozen features.

    ``l2_grid`` are the candidates of sklearn's inverse strength C; the choice is made on the validation
    split only. ``knn_neighbours`` and ``knn_temperature`` are fixed, never chosen on test data.
    """

    l2_grid: Strengths
    low_label_shots: Shots
    low_label_draws: Draws
    knn_neighbours: Neighbours
    knn_temperature: Positive


class CurveParams(Section):
    """The learning curve of a training: kNN accuracy on the validation split while it goes on.

    Only looked at: neither weights nor rows depend on it, and no hash of parameters that a row names covers it.

    every_epochs  after how many epochs, each time, and at the end; 0: never, at no cost
    """

    every_epochs: int = Field(default=0, ge=0, le=100_000)


class Transfer(Section):
    """Train on one data set, probe on another."""

    train: str
    probe: str


class FewShotParams(Section):
    """N-way K-shot episodes (specification of uaMix-MAE, section 3a).

    datasets    for each data set that is trained on, those that episodes are drawn from: from the test split, or
                where clips have a ``role`` (ESC-50, FSDKaggle2018) from the novel classes of all splits
    queries     query clips per class of an episode
    features    of all classifiers: ``raw``, ``standardised`` or ``whitened``, by the base classes' statistics alone
    class_of    column whose values are an episode's classes, where that is not ``y`` (instruments: ``group``)
    classifiers ``centroid`` (nearest, L2), ``cl2n`` (SimpleShot: centred on the training split, L2-normalised),
                ``linear`` (multinomial logistic regression on each episode)
    l2          strength of the linear classifier's penalty, on L2-normalised features
    """

    datasets: dict[str, DatasetNames]
    way: int = Field(ge=2, le=10_000)
    shots: Annotated[Shots, Field(min_length=1)]
    queries: Labels
    episodes: int = Field(ge=2, le=1_000_000)
    features: Scaling
    class_of: dict[str, Literal["y", "group"]]
    classifiers: Annotated[
        tuple[Literal["centroid", "cl2n", "linear"], ...], Field(min_length=1), AfterValidator(without_repeats)
    ]
    l2: Positive

    def on(self, trained: str, judged: str) -> Section:
        """Without other data sets."""
        class_of = {name: column for name, column in self.class_of.items() if name == judged}
        return self.model_copy(update={"datasets": {trained: (judged,)}, "class_of": class_of})


class LowShotParams(Section):
    """Logistic regression on few labels per class (section 3b), on data sets that may be other than trained on.

    datasets  for each data set that is trained on, those that are judged
    centres   what features are centred on before they are L2-normalised: ``training``, the mean of the training clips
              (`low-shot-N`); ``row``, each row's own mean over its features, which MSN's and MAE-CT's code subtracts
              (`low-shot-row-centred-N`)
    strength  inverse L2 strength C of the regression on centred, L2-normalised features (MAE-CT: 4000); fixed,
              nothing is chosen, so that no validation labels are used
    """

    datasets: dict[str, DatasetNames]
    shots: Annotated[Shots, Field(min_length=1)]
    draws: Draws
    centres: Annotated[tuple[Centre, ...], Field(min_length=1), AfterValidator(without_repeats)]
    strength: Positive

    def on(self, trained: str, judged: str) -> Section:
        """Without other data sets."""
        return self.model_copy(update={"datasets": {trained: (judged,)}})


class PretrainParams(Section):
    """What training one method reads; every modality extends it.

    ``augment`` is the section of the track's modality. Subclasses add ``encoder``, ``settings`` and whatever the
    track's methods need, and say what ``modality`` (``registry.py``) they are for.
    """

    modality: ClassVar[str]
    track: str
    method: str
    augment: SerializeAsAny[Section]

    def phases(self) -> tuple[TrainingParams, ...]:
        """Its training runs, one after another."""
        return ()


class ScratchParams(PretrainParams):
    """What the stage ``pretrain`` reads: it trains a method from scratch, in one go."""

    training: TrainingParams

    def phases(self) -> tuple[TrainingParams, ...]:
        """The one training run."""
        return (self.training,)
