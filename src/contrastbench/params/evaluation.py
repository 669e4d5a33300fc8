"""Parameters of the evaluation protocols that all tracks share."""

from pydantic import Field

from contrastbench.params.base import Section


class ProbeParams(Section):
    """Linear probe, low-label probe and kNN on frozen features.

    ``l2_grid`` are the candidates of sklearn's inverse strength C; the choice is made on the validation
    split only. ``knn_neighbours`` and ``knn_temperature`` are fixed, never chosen on test data.
    """

    l2_grid: tuple[float, ...] = Field(min_length=1)
    low_label_shots: tuple[int, ...]
    low_label_draws: int = Field(ge=1)
    knn_neighbours: int = Field(ge=1)
    knn_temperature: float = Field(gt=0)


class PretrainParams(Section):
    """What the stage ``pretrain`` of one method reads; every track extends it.

    Subclasses add ``encoder``, ``augment``, ``settings`` and whatever the track's methods need.
    """

    track: str
    method: str

    @property
    def stage(self) -> str:
        """Name of the stage that trains it; its folder holds the weights."""
        return "pretrain"
