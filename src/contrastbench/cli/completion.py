"""What a shell offers for an argument or option: names from the registry and from the parameters, without torch."""

from collections.abc import Callable, Iterable

import typer

from contrastbench.errors import UserError
from contrastbench.params.root import DEFAULT, TRACKS, presets
from contrastbench.pipeline.device import KNOWN
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.loggers import LOGGERS
from contrastbench.registry import DATASETS, METHODS


def complete_preset() -> list[str]:
    """The presets of this folder."""
    return presets()


def complete_track() -> list[str]:
    """All tracks."""
    return list(TRACKS)


def complete_dataset(context: typer.Context) -> list[str]:
    """The data sets of the track that is given before; all where none is, or the parameters cannot be read."""
    return _of_track(context, lambda grid, track: grid.datasets(track)) or list(DATASETS)


def complete_method(context: typer.Context) -> list[str]:
    """The methods and variants of the track that is given before; all methods where none is."""
    return _of_track(context, _methods) or list(METHODS)


def complete_device() -> list[str]:
    """What ``--device`` takes."""
    return list(KNOWN)


def complete_logger() -> list[str]:
    """What ``--log`` takes."""
    return list(LOGGERS)


def _methods(grid: Grid, track: str) -> Iterable[str]:
    return dict.fromkeys([*grid.labels(track), *grid.track(track).variants])


def _of_track(context: typer.Context, names: Callable[[Grid, str], Iterable[str]]) -> list[str]:
    try:
        return list(names(Grid(context.params.get("preset") or DEFAULT), context.params["track"]))
    except (UserError, OSError, KeyError):
        return []
