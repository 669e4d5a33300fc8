"""The state of a training run between two steps: all that a killed run needs to end with the same result."""

from pathlib import Path
from typing import Any

from contrastbench.methods import Method
from contrastbench.training.checkpoint import load_checkpoint, save_checkpoint
from contrastbench.training.engine import Engine
from contrastbench.training.processes import writes_files
from contrastbench.training.record import TrainingLog

REMEMBERED_LOSSES = 50


class ResumableRun:
    """Method, optimiser and engine (for the scale of 16-mixed) with the log of their steps.

    ``identity`` (a hash of parameters and code) ties the file ``checkpoint`` to this run. Examples and random numbers
    need no state: they follow from the number of the step.
    """

    def __init__(self, method: Method, optimizer: Any, engine: Engine, checkpoint: Path, identity: str) -> None:
        self._stateful: dict[str, Any] = {"method": method, "optimizer": optimizer, "engine": engine}
        self._checkpoint, self._identity = checkpoint, identity
        self.log = TrainingLog()
        self.recent_losses: list[float] = []

    def count(self, loss: float, seconds: float) -> None:
        """Record one more step, finished ``seconds`` after the start of training (interruptions not counted)."""
        self.log.steps += 1
        self.log.seconds = seconds
        self.recent_losses = [*self.recent_losses[1 - REMEMBERED_LOSSES :], loss]

    def resume(self) -> None:
        """Continue from this run's checkpoint if there is one. Raises UserError for a damaged one."""
        state = load_checkpoint(self._checkpoint, self._identity)
        if state is None:
            return
        for name, part in self._stateful.items():
            part.load_state_dict(state[name])
        self.log = TrainingLog(state["history"], steps=state["step"], seconds=state["seconds"])
        self.recent_losses = state["recent"]

    def save(self) -> None:
        """Write the checkpoint, whole or not at all; of several processes one writes, and any number may resume."""
        if not writes_files():
            return
        state = {name: part.state_dict() for name, part in self._stateful.items()}
        state |= {"identity": self._identity, "step": self.log.steps, "seconds": self.log.seconds}
        save_checkpoint(self._checkpoint, state | {"history": self.log.history, "recent": self.recent_losses})
