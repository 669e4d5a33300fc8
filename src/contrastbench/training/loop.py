"""The training loop of all methods.

Results depend on (seed, step) alone: the order of the examples is derived from (seed, epoch), every random
transformation from (seed, step). A killed run continues from its checkpoint and ends bit-identical on the CPU.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from contrastbench.errors import UserError
from contrastbench.methods import Batch, Method, Step
from contrastbench.modalities import Stored
from contrastbench.modalities.base import Inputs
from contrastbench.params.training import TrainingParams
from contrastbench.training.collapse import collapse_warning, effective_rank
from contrastbench.training.engine import engine_for
from contrastbench.training.optimizers import build_optimizer, learning_rate_factor
from contrastbench.training.order import ExampleOrder
from contrastbench.training.progress import TrainingProgress
from contrastbench.training.record import TrainingLog
from contrastbench.training.resumable import ResumableRun
from contrastbench.training.seeds import generator_for, seed_for


@dataclass(frozen=True)
class Examples:
    """Training data and how a batch of it becomes tensors.

    x        N stored examples; a batch is read at sorted positions
    y        (N,) class numbers, or None for unlabeled data
    inputs   the modality's: stored rows -> (B, C, H, W) float32 on the device
    augment  (B, C, H, W), generator -> one randomly transformed view
    """

    x: Stored
    y: np.ndarray | None
    inputs: Inputs
    augment: Callable[[Tensor, Generator], Tensor]


def train(
    method: Method,
    examples: Examples,
    params: TrainingParams,
    *,
    seed: int,
    checkpoint: Path,
    identity: str,
    device: str = "cpu",
    show_progress: bool = True,
) -> TrainingLog:
    """Train ``method`` in place and return the log.

    ``identity`` (a hash of parameters and code) ties the checkpoint to this run. Raises UserError when a batch is
    larger than the data or the loss is not a number; the message names the last checkpoint.
    """
    engine = engine_for(device, params.precision, sync_batchnorm=params.sync_batchnorm)
    order = ExampleOrder(len(examples.x), params, seed)
    _prepare(method)
    optimizer = build_optimizer(method, params)
    base_rates = [group["lr"] for group in optimizer.param_groups]
    training_step, optimizer = engine.setup(method, optimizer)
    run = ResumableRun(method, optimizer, engine, checkpoint, identity)
    run.resume()
    log = run.log

    begun = time.perf_counter() - log.seconds
    with TrainingProgress(type(method).__name__, order.total, log, params.batch_size, show=show_progress) as progress:
        for number in range(log.steps, order.total):
            torch.manual_seed(seed_for("global", seed, number))  # for libraries that use the global generator
            step = Step(number, order.total, order.per_epoch, generator_for(engine.device, "step", seed, number))
            factor = learning_rate_factor(
                number, order.total, params.warmup_epochs * order.per_epoch, params.final_learning_rate_fraction
            )
            for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
                group["lr"] = rate * factor

            batch, labels = _batch(method, examples, order.batch(number), step, engine.device)
            output = training_step(batch, step)
            loss = float(output["loss"].detach())
            if not np.isfinite(loss):
                raise UserError(_not_a_number("the loss is", output, number, checkpoint))
            optimizer.zero_grad(set_to_none=True)
            engine.backward(output["loss"])
            method.after_backward(step)
            optimizer.step()
            method.after_step(step)

            run.count(loss, time.perf_counter() - begun)
            progress.show(loss)
            last = log.steps == order.total
            if log.steps % params.log_every_steps == 0 or last:
                log.history.append(_entry(method, output, batch, labels, step, optimizer.param_groups[0]["lr"]))
            due = log.steps % params.checkpoint_every_steps == 0
            if (due or last) and not all(bool(weight.isfinite().all()) for weight in method.parameters()):
                # A finite loss may have a gradient that is not finite; such weights are never kept to resume from.
                raise UserError(_not_a_number("weights are", output, number, checkpoint))
            if due and not last:
                run.save()
    if log.history:
        log.warnings = _warnings(method, log.history[-1], run.recent_losses)
    method.eval()
    return log


def _prepare(method: Method) -> None:
    """Training mode, and channels-last memory where convolutions overlap, which makes them faster."""
    method.train()
    if any(isinstance(module, torch.nn.Conv2d) and module.kernel_size != module.stride for module in method.modules()):
        method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _batch(
    method: Method, examples: Examples, index: np.ndarray, step: Step, device: torch.device
) -> tuple[Batch, Tensor | None]:
    clean = examples.inputs(examples.x[index], device)
    views = [examples.augment(clean, step.generator) for _ in range(method.number_of_views)]
    labels = None if examples.y is None else torch.from_numpy(examples.y[index]).to(device)
    if method.uses_labels and labels is None:
        raise UserError(f"{type(method).__name__} needs labels, and this training split has none")
    seen = labels if method.uses_labels else None
    return Batch(clean, views, torch.from_numpy(index).to(device), seen), labels


def _entry(
    method: Method, output: dict[str, Tensor], batch: Batch, labels: Tensor | None, step: Step, rate: float
) -> dict[str, float]:
    entry = {"step": float(step.number + 1), "epoch": (step.number + 1) / step.per_epoch, "learning_rate": rate}
    entry |= {name: float(value.detach()) for name, value in output.items() if name != "embeddings"}
    entry["effective_rank"] = effective_rank(output["embeddings"])
    if labels is not None:
        method.eval()
        with torch.no_grad():
            entry |= method.diagnose(batch, labels)
        method.train()
    return entry


def _warnings(method: Method, entry: dict[str, float], recent_losses: list[float]) -> list[str]:
    """What a reader of this run's results has to know, as of its last step."""
    warnings = (collapse_warning(entry["effective_rank"]), method.advice(recent_losses))
    return [warning for warning in warnings if warning]


def _not_a_number(what: str, output: dict[str, Tensor], number: int, checkpoint: Path) -> str:
    terms = ", ".join(f"{name} {float(value.detach()):.4g}" for name, value in output.items() if name != "embeddings")
    resume = f"resume from {checkpoint}" if checkpoint.is_file() else "no checkpoint was written yet"
    return (
        f"training stopped at step {number}: {what} not a number ({terms}); {resume}, "
        "with a lower training.learning_rate or a higher temperature"
    )
