"""What several processes run in tests of training together; each starts anew and imports this file."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from conftest import REPOSITORY
from torch import distributed, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from training_cases import SMALL, images_and_labels, step_of, views_of
from uamix_cases import FRAMES, MELS, built, smallest_track

from contrastbench.methods import Batch, Method, method_class
from contrastbench.modalities import modality
from contrastbench.params.evaluation import ScratchParams
from contrastbench.params.images import ProjectorParams
from contrastbench.params.root import load
from contrastbench.params.training import TrainingParams
from contrastbench.training.distributed import divided
from contrastbench.training.engine import engine_for
from contrastbench.training.loop import Examples, train
from contrastbench.training.processes import process_count, writes_files
from contrastbench.training.record import TrainingLog

ROWS, STEPS = 16, 3
QUEUE = {"queue_length": 2 * ROWS, "queue_start_epoch": 0.0, "freeze_epochs": 0.0, "prototypes": 10}
# Queues that fill in two steps, few steps of attacks, and negatives that fit the few rows. Where TRADES starts, the
# gradient is so close to 0 that another order of summation turns signs; such a pixel moves by next to nothing here.
SETTINGS = {
    "mochi": {"hardest": 8, "mixed_negatives": 4, "mixed_with_query": 2},
    "swav": QUEUE,
    "swaro": QUEUE | {"steps": 2},
    "rocl": {"steps": 2},
    "acl": {"steps": 2},
    "dynacl": {"steps": 2},
    "a-infonce": {"steps": 2},
    "pgd-at": {"steps": 2},
    "trades": {"steps": 2, "step_size": 2e-4},
}
IN_UNREMIX = ("simclr", "dcl", "hcl", "mochi", "unremix")
IN_SWARO = ("swav", "rocl", "acl", "clae", "dynacl", "a-infonce", "swaro", "supervised", "pgd-at", "trades")
AUDIO = ("mae", "mae-joint", "mae-ct", "uamix-mae")
LABELS = (*IN_UNREMIX, *IN_SWARO, *AUDIO)


def image_params(label: str) -> ScratchParams:
    params = load(root=REPOSITORY)
    track = params.unremix if label in IN_UNREMIX else params.swaro
    found = track.pretrain(label, "digits")
    settings = found.settings.model_copy(update=SETTINGS.get(label, {}))
    return found.model_copy(update=SMALL | {"settings": settings, "projector": ProjectorParams(hidden=32, output=16)})


def without_kinks(module: nn.Module) -> nn.Module:
    """ReLU replaced in place: its gradient jumps where another order of summation turns the sign of a sum near 0."""
    for name, child in module.named_children():
        setattr(module, name, nn.SiLU() if isinstance(child, nn.ReLU) else without_kinks(child))
    return module


def method_of(label: str) -> Method:
    if label in AUDIO:
        return without_kinks(built(smallest_track(), label)).train()
    torch.manual_seed(0)
    method = method_class(label).from_params(image_params(label), (1, 8, 8), 10)
    return without_kinks(method).train()


def batch_of(method: Method, label: str, number: int) -> Batch:
    if label not in AUDIO:
        return views_of(method, ROWS, seed=number)
    draw = torch.Generator().manual_seed(number)
    clean, *views = (torch.randn(ROWS, 1, FRAMES, MELS, generator=draw) for _ in range(1 + method.number_of_views))
    return Batch(clean, views, torch.arange(ROWS) + ROWS * (number % 2), None)


@contextmanager
def rows_seen() -> Iterator[list[int]]:
    """How many rows the layers that only networks have are given inside the block, one call after another."""
    rows: list[int] = []

    def look(module, inputs):
        if isinstance(module, nn.Conv2d | nn.LayerNorm):
            rows.append(len(inputs[0]))

    hook = register_module_forward_pre_hook(look)
    yield rows
    hook.remove()


def gradients_by_hand() -> list[torch.Tensor]:
    """Of a loss over all pairs of a divided network's outputs: with respect to its inputs, and to its weights."""
    torch.manual_seed(0)
    network, x = nn.Linear(3, 2), torch.randn(ROWS, 3, requires_grad=True)
    with divided([network]) if process_count() > 1 else nullcontext():
        y = network(x)
    (y @ y.T).square().mean().backward()
    return [x.grad, network.weight.grad]


def outcome(label: str, *, sync_batchnorm: bool = True) -> dict[str, torch.Tensor]:
    """Rows seen, loss and gradients of each of a few steps, and all weights and buffers after them."""
    method = method_of(label)
    if label in ("mae-ct", "uamix-mae"):
        method.begin(smallest_track().tuning.encoder_step)
    engine = engine_for("cpu", "32-true", sync_batchnorm=sync_batchnorm)
    training_step, optimizer = engine.setup(method, torch.optim.SGD(method.parameters(), lr=0.05))
    found = {}
    for number in range(STEPS):
        step = step_of(number)
        with rows_seen() as rows:
            output = training_step(batch_of(method, label, number), step)
        found[f"rows/{number}"] = torch.tensor(rows[0])
        optimizer.zero_grad(set_to_none=True)
        engine.backward(output["loss"])
        found |= {
            f"gradient/{number}/{name}": weight.grad.clone()
            for name, weight in method.named_parameters()
            if weight.requires_grad
        }
        found |= {f"loss/{number}": output["loss"].detach(), f"embeddings/{number}": output["embeddings"]}
        method.after_backward(step)
        optimizer.step()
        method.after_step(step)
    return found | {f"state/{name}": value for name, value in method.state_dict().items()}


def trained(checkpoint: Path, killed_at: int | None = None, **changed) -> tuple[Method, TrainingLog]:
    """A run of 8 steps with a checkpoint every 3; the last of several processes is killed, or the only one fails."""
    params, method = image_params("hcl"), method_of("hcl")
    images, labels = images_and_labels(4 * ROWS)
    pixels = modality("image")
    x = (images.permute(0, 2, 3, 1) * 255).to(torch.uint8).numpy()
    examples = Examples(x, np.asarray(labels), pixels.inputs, pixels.augmentation(params.augment))
    training: TrainingParams = params.training.model_copy(
        update={"batch_size": ROWS, "epochs": 2, "checkpoint_every_steps": 3, "log_every_steps": 2} | changed
    )
    after_step = method.after_step

    def dies(step):
        after_step(step)
        if step.number == killed_at:
            if not distributed.is_initialized():
                raise KeyboardInterrupt
            if distributed.get_rank() > 0:
                os.kill(os.getpid(), signal.SIGKILL)

    method.after_step = dies  # type: ignore[method-assign]
    log = train(
        method, examples, training, seed=0, checkpoint=checkpoint, identity="x", device="cpu", show_progress=False
    )
    return method, replace(log, seconds=0.0)


def work(folder: Path, command: tuple) -> None:
    """Leave every method's outcome and that of a resumed training, do what a command hands over, be killed."""
    found = {label: outcome(label) for label in LABELS}
    apart = outcome("simclr", sync_batchnorm=False)
    method, log = trained(folder / "of-one.pt")
    rank = distributed.get_rank()
    left = {"found": found, "apart": apart, "resumed": method.state_dict(), "log": vars(log)}
    left |= {"by hand": gradients_by_hand(), "writes": writes_files()}
    torch.save(left, folder / f"process-{rank}.pt")
    stage, *arguments = command
    stage(*arguments)
    trained(folder / "of-two.pt", killed_at=4)
