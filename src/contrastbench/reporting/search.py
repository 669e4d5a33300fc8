"""The search for learning rates: a table of its trials for each method, and which rate was best."""

from contrastbench.params.image_track import ImageTrack
from contrastbench.params.track import TrackParams
from contrastbench.pipeline.groups import VALIDATION, Group
from contrastbench.reporting.cells import Cell, cells_of
from contrastbench.reporting.cost import line_of
from contrastbench.reporting.tables import Table, table_of
from contrastbench.results.load import Loaded


def search_tables(loaded: Loaded, track: TrackParams) -> list[Table]:
    """For each data set and method a table of its trials, one row per learning rate."""
    if not isinstance(track, ImageTrack) or track.search is None:
        return []
    length = f"{track.search.epochs} epochs, seed {track.search.seed}"
    reading = f"{length}. {VALIDATION[0].reading}"
    return [
        table_of(dataset, Group(f"Learning rates of {method}", reading), list(cells.values()))
        for (dataset, method), cells in _trials(loaded, track).items()
    ]


def best_rates(loaded: Loaded, track: TrackParams) -> dict[tuple[str, str], float]:
    """By data set and method, the learning rate with the highest mean, of equals the lowest, where all were tried."""
    if not isinstance(track, ImageTrack) or track.search is None:
        return {}
    wanted = len(track.search.learning_rates)
    return {
        place: max(sorted(cells), key=lambda rate: cells[rate].mean)
        for place, cells in _trials(loaded, track).items()
        if len(cells) == wanted
    }


def other_rates(loaded: Loaded, track: TrackParams) -> list[str]:
    """A line for each label of the cost target that is not trained at the best rate that was found for its method."""
    lines = []
    for (dataset, method), best in best_rates(loaded, track).items():
        for label in track.cost:
            (training,) = track.training_of(label)
            if line_of(label, track) == line_of(method, track) and training.learning_rate != best:
                lines.append(f"{label}: learning rate {training.learning_rate:g}; best on {dataset} was {best:g}")
    return lines


def _trials(loaded: Loaded, track: TrackParams) -> dict[tuple[str, str], dict[float, Cell]]:
    """The cells of the trials by data set and method, then by learning rate."""
    tried = track.trials()
    found: dict[tuple[str, str], dict[float, Cell]] = {}
    for key, cell in cells_of(loaded.where(lambda row: row.method in tried)).items():
        if key.protocol.family == "validation-pgd":
            method, rate = tried[key.method]
            found.setdefault((key.dataset, method), {})[rate] = cell
    return found
