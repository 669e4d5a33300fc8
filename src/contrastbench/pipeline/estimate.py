"""How long will a job take? From jobs that were measured before, scaled by the work."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

OTHER_MACHINE = 1.5  # by what factor more an estimate for another machine may be wrong
FAR_MORE = 10  # times the work of what was measured: too much to go by, where that was mostly start-up
START_S = 2.0  # start of Python and imports: does not grow with the work


@dataclass(frozen=True)
class Task:
    """What decides the cost of a job.

    stage, name  the stage, and the name that the job's benchmark file has
    setting      identity of what makes one example dear or cheap: encoder, attacks
    work         examples x epochs of training, examples x seeds elsewhere; None where the data are not prepared yet
    epochs       epochs of training, elsewhere how many seeds the job takes
    forward      multiply-adds of its encoder for an example; None where it computes with none
    """

    stage: str
    name: str
    track: str
    dataset: str
    method: str
    setting: str
    work: float | None
    epochs: float = 1.0
    forward: float | None = None


@dataclass(frozen=True)
class Measured:
    """A task that has run, and how many bytes it left in its folder."""

    task: Task
    seconds: float
    peak_mb: float
    size: int = 0


@dataclass(frozen=True)
class Estimate:
    """Seconds with a range, and peak MiB; ``elsewhere``: from what another machine has measured."""

    seconds: float
    low: float
    high: float
    peak_mb: float
    elsewhere: bool = False

    def on_another(self, slower: float) -> "Estimate":
        """The same on a machine that takes ``slower`` times as long."""
        low, high = self.low * slower / OTHER_MACHINE, self.high * slower * OTHER_MACHINE
        return Estimate(self.seconds * slower, low, high, self.peak_mb, elsewhere=True)


# What counts as like, the closest first, and by what factor an estimate from it may be wrong either way.
LIKENESS: tuple[tuple[Callable[[Task], tuple], float], ...] = (
    (lambda task: (task.stage, task.track, task.dataset, task.method, task.setting), 1.3),
    (lambda task: (task.stage, task.track, task.method, task.setting), 1.6),
    (lambda task: (task.stage, task.track, task.setting), 2.0),
    (lambda task: (task.stage, task.track), 4.0),
    (lambda task: (task.stage,), 8.0),
)


def estimate(task: Task, measured: Sequence[Measured]) -> Estimate | None:
    """The median over the most similar measured tasks, each scaled by the work; None if there is none to go by.

    The range is from the quickest to the slowest of them, widened by the factor of their likeness.
    """
    for likeness, factor in LIKENESS:
        alike = [
            (one, scale) for one in measured if likeness(one.task) == likeness(task) and (scale := _scale(task, one))
        ]
        if alike:
            alike = _of_like_size(alike)
            times = [START_S + max(one.seconds - START_S, 0.1) * scale for one, scale in alike]
            peak = max(one.peak_mb for one, _ in alike)
            return Estimate(statistics.median(times), min(times) / factor, max(times) * factor, peak)
    return None


def comparable(task: Task, measured: Sequence[Measured]) -> list[Measured]:
    """Those measured tasks of the task's stage and track that are not far smaller."""
    same = [one for one in measured if (one.task.stage, one.task.track) == (task.stage, task.track)]
    return [one for one in same if (_scale(task, one) or 1) <= FAR_MORE]


def _of_like_size(alike: list[tuple[Measured, float]]) -> list[tuple[Measured, float]]:
    """Those that have to be stretched or shrunk least: a tiny job is mostly start-up and says little of a large one."""
    closest = min(abs(math.log(scale)) for _, scale in alike)
    return [(one, scale) for one, scale in alike if abs(math.log(scale)) <= closest + math.log(2)]


def _scale(task: Task, measured: Measured) -> float | None:
    """How many times the measured work ``task`` is; None if unknown."""
    dearer = task.forward / measured.task.forward if task.forward and measured.task.forward else 1.0
    if task.work is not None and measured.task.work:
        return dearer * task.work / measured.task.work
    return dearer * task.epochs / measured.task.epochs if task.dataset == measured.task.dataset else None
