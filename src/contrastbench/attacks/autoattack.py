"""AutoAttack (Croce & Hein 2020, arXiv 2003.01690): pyautoattack's attacks in a resumable loop of our own.

The attacks are pyautoattack's, run in its order, on its batches, with its seeds, so that every image gets the
verdict that ``AutoAttack.run_standard_evaluation`` gives it (tests/test_autoattack.py). In the l_inf ball the parts
that it runs one after another run side by side, and so do the classes of APGD-T in the l2 ball (``side_by_side.py``).
Our loop adds what that method lacks: which attack broke which image, a state after every batch, the global generator
restored, and gradients in contiguous memory (pyautoattack's zero-gradient check crashes on channels-last gradients).
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyautoattack
import torch
from torch import Tensor, nn

from contrastbench.attacks.geometry import UNIT, Norm, check_inputs, global_seed, require_gradients
from contrastbench.attacks.logits import refuse_probabilities
from contrastbench.attacks.recount import recount
from contrastbench.attacks.side_by_side import square, targeted_apgd, targeted_fab

STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")
ROBUST = -1  # broken_by: no attack broke the image
CLEAN = -2  # broken_by: misclassified without an attack
FEWEST_CLASSES = 4  # the targeted DLR loss divides by a difference of the 1st, 3rd and 4th logits


@dataclass
class State:
    """The progress of an evaluation: all that is needed to continue a killed one.

    broken_by   (N,) int64: position of the attack in the list, or ROBUST or CLEAN; None before the first pass
    attack      position of the current attack
    candidates  positions (M,) of the images that this attack is run on, fixed when it starts
    batch       number of its batches that are done
    refused     (N,) bool: some attack returned an invalid image (outside the ball or [0, 1], or not finite)
    classes     logits of the model
    round       how often the whole list was run before
    left        images that were left when this round began
    """

    broken_by: Tensor | None = None
    attack: int = 0
    candidates: Tensor | None = None
    batch: int = 0
    refused: Tensor | None = None
    classes: int = 0
    round: int = 0
    left: int = 0


@dataclass(frozen=True)
class Settings:
    """What to run. None for ``iterations`` and ``queries`` means the standard's 100 and 5000.

    again  the attacks are run again, from other random starts, as long as a round breaks more than this share of all
           images; None, as the standard: one round
    """

    eps: float
    norm: Norm = "linf"
    attacks: tuple[str, ...] = STANDARD
    batch_size: int = 128
    iterations: int | None = None
    queries: int | None = None
    again: float | None = None


class ContiguousGradients(nn.Module):
    """The model, with input gradients in contiguous memory whatever memory format the model computes in."""

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
    """pyautoattack's own object, configured as its standard for ``settings.attacks``.

    The targeted attacks try the 9 most likely other classes (5 for l1), or all where there are fewer.
    """
    norm = {"linf": "Linf", "l2": "L2", "l1": "L1"}[settings.norm]
    logging.getLogger("auto-attack").setLevel(logging.ERROR)
    theirs = pyautoattack.AutoAttack(
        ContiguousGradients(model),
        norm=norm,
        eps=settings.eps,
        version="standard",
        seed=seed,
        device=device,
    )
    theirs.attacks_to_run = list(settings.attacks)
    theirs.version = "custom"
    theirs.apgd_targeted.n_target_classes = min(theirs.apgd_targeted.n_target_classes, classes - 1)
    theirs.fab.n_target_classes = min(theirs.fab.n_target_classes, classes - 1)
    if settings.again is not None:  # whole rounds take the place of restarts
        theirs.apgd.n_restarts = 1
    if settings.iterations is not None:
        theirs.fab.n_iter = count = settings.iterations
        for apgd in (theirs.apgd, theirs.apgd_targeted):  # all that its constructor derives from the number
            apgd.n_iter = apgd.n_iter_orig = count
            apgd.n_iter_2, apgd.n_iter_min, apgd.size_decr = (max(int(part * count), 1) for part in (0.22, 0.06, 0.03))
    if settings.queries is not None:
        theirs.square.n_queries = settings.queries
    return theirs


def autoattack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    settings: Settings,
    *,
    seed: int,
    device: torch.device,
    wanted: Mapping[str, Tensor] | None = None,
    state: State | None = None,
    save: Callable[[State], None] = lambda _: None,
) -> State:
    """Attack ``images`` (N, C, H, W) in [0, 1]; the returned state's ``broken_by`` holds the verdicts.

    Every attack is run on what those before it left, and of that on the images that are ``wanted`` (N,) bool for it, or
    all. Targeted APGD is left out where the model has too few classes for its loss (``FEWEST_CLASSES``).
    ``save`` is called after every batch; an evaluation started again from the last state that it received ends
    with the same verdicts. ``model`` returns logits and is on ``device``, in eval mode.
    """
    check_inputs(images, UNIT, settings.eps)
    state = state or State()
    with global_seed(seed), torch.no_grad():
        if state.broken_by is None or state.refused is None:
            if settings.attacks != ("square",):
                require_gradients(model, images[:1].to(device), "AutoAttack")
            logits = torch.cat([model(part.to(device)).cpu() for part in images.split(settings.batch_size)])
            refuse_probabilities(logits)
            state.refused = torch.zeros(len(images), dtype=torch.bool)
            state.broken_by = torch.where(logits.argmax(1) == labels.cpu(), ROBUST, CLEAN)
            state.classes = logits.shape[1]
            state.left = int((state.broken_by == ROBUST).sum())
        theirs = build(model, settings, seed + state.round, state.classes, device)
        while state.attack < len(settings.attacks):
            name = settings.attacks[state.attack]
            if state.candidates is None:
                chosen = state.broken_by == ROBUST
                if wanted is not None:
                    chosen &= wanted[name]
                if name == "apgd-t" and state.classes < FEWEST_CLASSES:
                    chosen[:] = False
                state.candidates = torch.nonzero(chosen).flatten()
            batches = state.candidates.split(settings.batch_size) if len(state.candidates) else ()
            for batch in batches[state.batch :]:
                x, y = images[batch].to(device).contiguous(), labels[batch].to(device)
                adversarial = _perturb(theirs, name, x, y, settings)
                counted = recount(model, x, adversarial, y, eps=settings.eps, norm=settings.norm)
                state.broken_by[batch[counted.broken.cpu()]] = state.attack
                state.refused[batch[~counted.valid.cpu()]] = True
                state.batch += 1
                save(state)
            state.attack, state.candidates, state.batch = state.attack + 1, None, 0
            left = int((state.broken_by == ROBUST).sum())
            again = settings.again is not None and state.left - left > settings.again * len(images)
            if again and state.attack == len(settings.attacks):
                state.attack, state.round, state.left = 0, state.round + 1, left
                theirs = build(model, settings, seed + state.round, state.classes, device)
    return state


def _perturb(theirs: Any, name: str, x: Tensor, y: Tensor, settings: Settings) -> Tensor:
    """What ``run_standard_evaluation`` does for one batch of one attack; every attack seeds itself."""
    if name == "apgd-ce":
        theirs.apgd.loss = "ce"
        return theirs.apgd.perturb(x, y)
    part, at_once = {
        "apgd-t": (theirs.apgd_targeted, targeted_apgd),
        "fab-t": (theirs.fab, targeted_fab),
        "square": (theirs.square, square),
    }[name]
    if settings.norm == "linf" or (settings.norm == "l2" and name == "apgd-t"):
        return at_once(part, x, y, batch_size=settings.batch_size)
    theirs.fab.targeted, theirs.fab.n_restarts = True, 1
    return part.perturb(x, y)
