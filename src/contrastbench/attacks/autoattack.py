"""AutoAttack (Croce & Hein 2020, arXiv 2003.01690) through pyautoattack, with a resumable front of our own.

The attacks are pyautoattack's, run in its order, on its batches, at its seeds, so that every image gets the
verdict that ``AutoAttack.run_standard_evaluation`` gives it (tests/test_autoattack.py). The front adds what that
one lacks: which attack broke which image, a state after every batch, the global generator given back, and
gradients in contiguous memory (pyautoattack's zero-gradient check crashes on channels-last gradients).
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyautoattack
import torch
from torch import Tensor, nn

from contrastbench.attacks.geometry import Bounds, Norm, check_inputs, global_seed, require_gradients
from contrastbench.attacks.logits import refuse_probabilities
from contrastbench.attacks.recount import recount
from contrastbench.errors import UserError

STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")
ROBUST = -1  # broken_by: no attack broke the image
CLEAN = -2  # broken_by: misclassified without any attack
FEWEST_CLASSES = 4  # the targeted DLR loss divides by a difference of the 1st, 3rd and 4th logits
UNIT: Bounds = (0.0, 1.0)  # AutoAttack knows no other bounds


@dataclass
class State:
    """How far an evaluation is; all that a killed one needs to go on.

    broken_by   (N,) int64: position of the attack in the list, or ROBUST or CLEAN; None before the first pass
    attack      position of the attack under way
    candidates  images (M,) that this attack faces, fixed when it starts
    batch       batches of it that are done
    refused     (N,) bool: some attack returned an invalid image here (outside the ball or [0, 1], not finite)
    """

    broken_by: Tensor | None = None
    attack: int = 0
    candidates: Tensor | None = None
    batch: int = 0
    refused: Tensor | None = None


@dataclass(frozen=True)
class Settings:
    """What to run. ``iterations`` and ``queries`` None mean the standard's 100 and 5000."""

    eps: float
    norm: Norm = "linf"
    attacks: tuple[str, ...] = STANDARD
    batch_size: int = 128
    iterations: int | None = None
    queries: int | None = None


class ContiguousGradients(nn.Module):
    """The model, with its input gradient in contiguous memory whatever memory format the model computes in."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes)."""
        return self.model(_Contiguous.apply(images))


class _Contiguous(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, images: Tensor) -> Tensor:
        return images.view_as(images)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return gradient.contiguous()


def build(model: nn.Module, settings: Settings, seed: int, classes: int, device: torch.device) -> Any:
    """pyautoattack's own front, set to the standard's numbers for ``settings.attacks``.

    The targeted attacks try the 9 most likely other classes (5 for l1), fewer where there are not so many.
    """
    norm = {"linf": "Linf", "l2": "L2", "l1": "L1"}[settings.norm]
    logging.getLogger("auto-attack").setLevel(logging.ERROR)
    front = pyautoattack.AutoAttack(
        ContiguousGradients(model),
        norm=norm,
        eps=settings.eps,
        version="standard",
        seed=seed,
        device=device,
    )
    front.attacks_to_run = list(settings.attacks)
    front.version = "custom"
    front.apgd_targeted.n_target_classes = min(front.apgd_targeted.n_target_classes, classes - 1)
    front.fab.n_target_classes = min(front.fab.n_target_classes, classes - 1)
    if settings.iterations is not None:
        front.fab.n_iter = settings.iterations
        for apgd in (front.apgd, front.apgd_targeted):  # n_iter_orig is what its l1 schedule divides up
            apgd.n_iter = apgd.n_iter_orig = settings.iterations
    if settings.queries is not None:
        front.square.n_queries = settings.queries
    return front


def autoattack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    settings: Settings,
    *,
    seed: int,
    device: torch.device,
    state: State | None = None,
    save: Callable[[State], None] = lambda _: None,
) -> State:
    """Attack ``images`` (N, C, H, W) in [0, 1]; the returned state's ``broken_by`` holds the verdicts.

    ``save`` is called after every batch; an evaluation that is started again with what it last received
    ends with the same verdicts. ``model`` returns logits, on ``device``, in eval mode.
    """
    check_inputs(images, UNIT, settings.eps)
    if settings.attacks != ("square",):
        require_gradients(model, images[:1].to(device), "AutoAttack")
    state = state or State()
    with global_seed(seed), torch.no_grad():
        if state.broken_by is None or state.refused is None:
            logits = torch.cat([model(part.to(device)).cpu() for part in images.split(settings.batch_size)])
            refuse_probabilities(logits)
            state.refused = torch.zeros(len(images), dtype=torch.bool)
            state.broken_by = torch.where(logits.argmax(1) == labels.cpu(), ROBUST, CLEAN)
        classes = model(images[:1].to(device)).shape[1]
        if classes < FEWEST_CLASSES and "apgd-t" in settings.attacks:
            raise UserError(f"AutoAttack needs at least {FEWEST_CLASSES} classes; the model has {classes}")
        front = build(model, settings, seed, classes, device)
        while state.attack < len(settings.attacks):
            name = settings.attacks[state.attack]
            if state.candidates is None:
                state.candidates = torch.nonzero(state.broken_by == ROBUST).flatten()
            batches = state.candidates.split(settings.batch_size) if len(state.candidates) else ()
            for batch in batches[state.batch :]:
                x, y = images[batch].to(device).contiguous(), labels[batch].to(device)
                adversarial = _perturb(front, name, x, y)
                verdict = recount(model, x, adversarial, y, eps=settings.eps, norm=settings.norm)
                state.broken_by[batch[verdict.broken.cpu()]] = state.attack
                state.refused[batch[~verdict.valid.cpu()]] = True
                state.batch += 1
                save(state)
            state.attack, state.candidates, state.batch = state.attack + 1, None, 0
    return state


def _perturb(front: Any, name: str, x: Tensor, y: Tensor) -> Tensor:
    """What ``run_standard_evaluation`` does for one batch of one attack; every attack seeds itself."""
    if name in ("apgd-ce", "apgd-dlr"):
        front.apgd.loss = name.removeprefix("apgd-")
        return front.apgd.perturb(x, y)
    if name == "apgd-t":
        return front.apgd_targeted.perturb(x, y)
    if name == "fab-t":
        front.fab.targeted, front.fab.n_restarts = True, 1
        return front.fab.perturb(x, y)
    assert name == "square", name
    return front.square.perturb(x, y)
