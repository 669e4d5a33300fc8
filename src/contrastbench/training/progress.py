"""The progress bar of a training run."""

from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from contrastbench.training.record import TrainingLog


class TrainingProgress:
    """A bar over the steps of ``log``, with the last loss and the speed since this process began."""

    def __init__(self, title: str, total: int, log: TrainingLog, batch_size: int, *, show: bool) -> None:
        self._log, self._batch_size = log, batch_size
        self._steps, self._seconds = log.steps, log.seconds
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
            disable=not show,
        )
        self._bar = self._progress.add_task(title, total=total, completed=log.steps, status="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, loss: float) -> None:
        """Move the bar to the log's current step."""
        examples = (self._log.steps - self._steps) * self._batch_size
        rate = examples / max(1e-9, self._log.seconds - self._seconds)
        self._progress.update(self._bar, completed=self._log.steps, status=f"loss {loss:.4f}  {rate:,.0f} examples/s")
