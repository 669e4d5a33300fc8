"""Hands what training logs to a logger while it runs, and changes nothing of it.

The loop keeps its log in a ``ResumableRun``, by a name that it looks up when it begins. While :func:`followed` is open
it finds a subclass there, which looks at the log whenever the loop has read its losses: that is the one object that has
the whole log from the first step on, also of a resumed run, and that knows whose it is, by checkpoint and identity. So
the loop reports in no second way, and the code that made the recorded rows stays what it was.

An entry is handed on when the loop has read a later step: then its validation accuracy stands beside its loss. What is
slow, a disk or a network, happens on a thread of its own. A logger that fails after it was opened is told of once and
left alone; the training goes on.
"""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from torch import distributed

from contrastbench.loggers.writer import Training, Writer
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.training import loop
from contrastbench.training.resumable import ResumableRun


@contextmanager
def followed(logger: str, grid: Grid, job: Job, tell: Callable[[str], None]) -> Iterator[None]:
    """Every training inside the block is followed by ``logger`` (``pipeline/loggers.py``); of several processes by one.

    Raises UserError where the logger cannot be opened.
    """
    if distributed.is_initialized() and distributed.get_rank() > 0:
        yield
        return
    open_writer: Callable[[Training], Writer] = import_module(f"contrastbench.loggers.{logger}").open_writer
    params = grid.pretrain_params(job)
    facts = {} if params is None else params.model_dump(mode="json")
    runs: list[_FollowedRun] = []

    def begin(*arguments: Any) -> ResumableRun:
        *_, checkpoint, identity = arguments
        for earlier in runs:
            earlier.end(finished=True)
        name = f"{checkpoint.stem}/{job.folder}"
        key = hashlib.sha256(f"{grid.preset} {name} {identity}".encode()).hexdigest()[:16]
        writer = open_writer(Training(name, key, grid.preset, facts, grid.layout.logged))
        runs.append(_FollowedRun(*arguments, writer=writer, tell=tell))
        return runs[-1]

    finished = False
    loop.ResumableRun = begin  # type: ignore
    try:
        yield
        finished = True
    finally:
        loop.ResumableRun = ResumableRun  # type: ignore[misc]
        for run in runs:
            run.end(finished=finished)


class _FollowedRun(ResumableRun):
    """The same state, of which a writer is told."""

    def __init__(self, *arguments: Any, writer: Writer, tell: Callable[[str], None]) -> None:
        super().__init__(*arguments)
        self._writer, self._tell = writer, tell
        self._thread = ThreadPoolExecutor(1)
        self._passed, self._failed, self._ended = 0, False, False

    def read(self, seconds: float) -> dict[str, float]:
        terms = super().read(seconds)
        self._pass_on()
        return terms

    def end(self, *, finished: bool) -> None:
        """Hand on what is left, and wait until it is written."""
        if self._ended:
            return
        self._ended = True
        self._pass_on()
        self._thread.submit(self._attempt, lambda: self._writer.close(finished=finished))
        self._thread.shutdown()

    def _pass_on(self) -> None:
        for entry in self.log.history[self._passed :]:
            values = dict(entry)
            self._thread.submit(self._attempt, self._writer.write, int(values.pop("step")), values)
        self._passed = len(self.log.history)

    def _attempt(self, write: Callable[..., None], *arguments: Any) -> None:
        if self._failed:
            return
        try:
            write(*arguments)
        except Exception as error:  # any library's, any network's: no reason to lose a training
            self._failed = True
            self._tell(f"contrastbench: the logger failed, training goes on without it: {error}")
