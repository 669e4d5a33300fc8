"""The training loop of all methods.

Results depend on (seed, step) alone: the order of the examples is derived from (seed, epoch), every random
transformation from (seed, step). A killed run continues from its checkpoint and ends bit-identical on the CPU.

An accelerator works behind the host's back: losses are read, and looked through for one that is not a number, when a
step is logged or a checkpoint is due, and in between no step waits for the device.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from contrastbench.augment.host import is_queued
from contrastbench.errors import UserError
from contrastbench.methods import Batch, Method, Step
from contrastbench.modalities import Stored
from contrastbench.modalities.base import Inputs
from contrastbench.params.training import TrainingParams
from contrastbench.training.collapse import collapse_warning, effective_rank
from contrastbench.training.curve import LearningCurve
from contrastbench.training.engine import engine_for
from contrastbench.training.feed import feed
from contrastbench.training.optimizers import build_optimizer, learning_rate_factor
from contrastbench.training.order import ExampleOrder
from contrastbench.training.progress import TrainingProgress
from contrastbench.training.record import TrainingLog
from contrastbench.training.resumable import ResumableRun
from contrastbench.training.seeds import seed_for, seed_globally


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
    curve: LearningCurve | None = None,
) -> TrainingLog:
    """Train ``method`` in place and return the log, with the points of ``curve``, whose time is not training's.

    ``identity`` (a hash of parameters and code) ties the checkpoint to this run. Raises UserError when a batch is
    larger than the data or the loss is not a number; the message names the last checkpoint.
    """
    engine = engine_for(device, params.precision, sync_batchnorm=params.sync_batchnorm)
    order = ExampleOrder(len(examples.x), params, seed)
    labels = _labels(method, examples, engine.device)
    _prepare(method)
    optimizer = build_optimizer(method, params)
    base_rates = [group["lr"] for group in optimizer.param_groups]
    training_step, optimizer = engine.setup(method, optimizer)
    run = ResumableRun(method, optimizer, engine, checkpoint, identity)
    run.resume()
    log = run.log

    generator = Generator(engine.device)
    rows = feed(examples.x, order, engine.device, first=log.steps)
    begun = time.perf_counter() - log.seconds
    with TrainingProgress(type(method).__name__, order.total, log, params.batch_size, show=show_progress) as progress:
        for number, (stored, index) in enumerate(rows, start=log.steps):
            seed_globally(engine.device, "global", seed, number)
            step = Step(number, order.total, order.per_epoch, generator.manual_seed(seed_for("step", seed, number)))
            factor = learning_rate_factor(
                number, order.total, params.warmup_epochs * order.per_epoch, params.final_learning_rate_fraction
            )
            for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
                group["lr"] = rate * factor

            clean = examples.inputs(stored, engine.device)
            views = [examples.augment(clean, step.generator) for _ in range(method.number_of_views)]
            batch = Batch(clean, views, index, labels[index] if method.uses_labels and labels is not None else None)
            output = training_step(batch, step)
            optimizer.zero_grad(set_to_none=True)
            engine.backward(output["loss"])
            method.after_backward(step)
            optimizer.step()
            method.after_step(step)

            run.count(output)
            last = log.steps == order.total
            logged = log.steps % params.log_every_steps == 0 or last
            due = log.steps % params.checkpoint_every_steps == 0
            measured = curve is not None and curve.has_point(step)
            if logged or due or measured or not is_queued(engine.device):
                terms = run.read(time.perf_counter() - begun)
                progress.show(terms["loss"])
            if logged:
                rate = optimizer.param_groups[0]["lr"]
                log.history.append(_entry(method, terms, output["embeddings"], batch, labels, step, rate))
            if (due or last) and not _are_finite(method):
                # A finite loss may have a gradient that is not finite; such weights are never kept to resume from.
                raise run.not_a_number("weights are", terms, number)
            if curve is not None and measured:
                before = time.perf_counter()
                point = _time_of(step) | curve.point(method)
                if logged:
                    log.history[-1] |= point
                else:
                    log.history.append(point)
                begun += time.perf_counter() - before
            if due and not last:
                run.save()
    if log.history:
        log.warnings = _warnings(method, log.history[-1], run.recent_losses)
    method.eval()
    return log


def _labels(method: Method, examples: Examples, device: torch.device) -> Tensor | None:
    """All labels (N,) on the device."""
    if examples.y is not None:
        return torch.tensor(examples.y, device=device)
    if method.uses_labels:
        raise UserError(f"{type(method).__name__} needs labels, and this training split has none")
    return None


def _prepare(method: Method) -> None:
    """Training mode, and channels-last memory where convolutions overlap, which makes them faster."""
    method.train()
    if any(isinstance(module, torch.nn.Conv2d) and module.kernel_size != module.stride for module in method.modules()):
        method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _entry(
    method: Method,
    terms: dict[str, float],
    embeddings: Tensor,
    batch: Batch,
    labels: Tensor | None,
    step: Step,
    rate: float,
) -> dict[str, float]:
    entry = _time_of(step) | {"learning_rate": rate} | terms | {"effective_rank": effective_rank(embeddings)}
    if labels is not None:
        method.eval()
        with torch.no_grad():
            entry |= method.diagnose(batch, labels[batch.index])
        method.train()
    return entry


def _time_of(step: Step) -> dict[str, float]:
    return {"step": float(step.number + 1), "epoch": (step.number + 1) / step.per_epoch}


def _are_finite(method: Method) -> bool:
    return bool(torch.stack([weight.isfinite().all() for weight in method.parameters()]).all())


def _warnings(method: Method, entry: dict[str, float], recent_losses: list[float]) -> list[str]:
    """What a reader of this run's results has to know, as of its last step."""
    warnings = (collapse_warning(entry["effective_rank"]), method.advice(recent_losses))
    return [warning for warning in warnings if warning]
