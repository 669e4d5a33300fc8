"""Weights & Biases. Its own variables decide what it decides: ``WANDB_MODE=offline``, ``WANDB_PROJECT``, ..."""

import os

import wandb

from contrastbench.errors import UserError
from contrastbench.loggers.writer import Training, Writer


def open_writer(training: Training) -> Writer:
    """A writer of the training's run, which is resumed where the server has it; UserError where W&B refuses."""
    return _WandB(training)


class _WandB:
    """Offline, a training that goes on writes a run of the same id, with all entries again: uploaded, they are one."""

    def __init__(self, training: Training) -> None:
        training.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "contrastbench"),
                id=training.key,
                name=training.name,
                group=training.preset,
                config=training.params,
                dir=training.folder,
                resume="allow",
                settings=wandb.Settings(console="off"),
            )
        except wandb.errors.Error as error:
            why = str(error).rstrip(".")
            raise UserError(f"--log wandb: {why}; `WANDB_MODE=offline` needs neither account nor network") from None

    def write(self, step: int, values: dict[str, float]) -> None:
        if step >= self._run.starting_step:  # the server has those before
            self._run.log(values, step=step, commit=True)

    def close(self, *, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)
