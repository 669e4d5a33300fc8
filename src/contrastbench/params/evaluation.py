"""Parameters of the evaluation protocols that all tracks share."""

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, SerializeAsAny

from contrastbench.params.base import Section, without_repeats
from contrastbench.params.training import TrainingParams

Strength = Annotated[float, Field(gt=0)]
Strengths = Annotated[tuple[Strength, ...], Field(min_length=1), AfterValidator(without_repeats)]
Shots = Annotated[tuple[Annotated[int, Field(ge=1)], ...], AfterValidator(without_repeats)]


class ProbeParams(Section):
    """Linear probe, low-label probe and kNN on frozen features.

    ``l2_grid`` are the candidates of sklearn's inverse strength C; the choice is made on the validation
    split only. ``knn_neighbours`` and ``knn_temperature`` are fixed, never chosen on test data.
    """

    l2_grid: Strengths
    low_label_shots: Shots
    low_label_draws: int = Field(ge=1)
    knn_neighbours: int = Field(ge=1)
    knn_temperature: float = Field(gt=0)


class PretrainParams(Section):
    """What training one method reads; every track extends it.

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
