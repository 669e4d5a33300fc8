"""The state of a training run between two steps: all that a killed run needs to end with the same result."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from contrastbench.errors import UserError
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
        self._unread: list[dict[str, Tensor]] = []

    def count(self, output: dict[str, Tensor]) -> None:
        """Record one more step; its scalars stay on the device until :meth:`read`."""
        self._unread.append({name: value.detach() for name, value in output.items() if name != "embeddings"})
        self.log.steps += 1

    def read(self, seconds: float) -> dict[str, float]:
        """Wait for the device and read the scalars of all steps since the last time; those of the last step.

        ``seconds`` after the start of training (interruptions not counted). Raises UserError for the first loss that
        is not a number.
        """
        values = iter(torch.stack([value.double() for terms in self._unread for value in terms.values()]).tolist())
        terms: dict[str, float] = {}
        for number, names in enumerate(self._unread, start=self.log.steps - len(self._unread)):
            terms = {name: next(values) for name in names}
            if not math.isfinite(terms["loss"]):
                raise self.not_a_number("the loss is", terms, number)
            self.recent_losses = [*self.recent_losses[1 - REMEMBERED_LOSSES :], terms["loss"]]
        self._unread = []
        self.log.seconds = seconds
        return terms

    def not_a_number(self, what: str, terms: dict[str, float], number: int) -> UserError:
        """What to say of step ``number``, where ``what`` is not a number."""
        checkpoint = self._checkpoint
        resume = f"resume from {checkpoint}" if checkpoint.is_file() else "no checkpoint was written yet"
        return UserError(
            f"training stopped at step {number}: {what} not a number "
            f"({', '.join(f'{name} {value:.4g}' for name, value in terms.items())}); {resume}, "
            "with a lower training.learning_rate or a higher temperature"
        )

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
        """Write the checkpoint, whole or not at all; everything has been read.

        Of several processes one writes, and any number may resume.
        """
        if not writes_files():
            return
        state = {name: part.state_dict() for name, part in self._stateful.items()}
        state |= {"identity": self._identity, "step": self.log.steps, "seconds": self.log.seconds}
        save_checkpoint(self._checkpoint, state | {"history": self.log.history, "recent": self.recent_losses})
