"""Recounting: an attack's claims are checked on the images that it returns.

Foolbox's NewtonFool returns images of NaN, which Foolbox counts as successes; attacks that search for a minimal
distance may leave the ball. An image counts as broken if our own forward pass misclassifies it, with a perturbation
that is finite, inside the ball and inside the bounds.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from contrastbench.attacks.geometry import ABSOLUTE_TOLERANCE, UNIT, Norm, inside_ball, norms


@dataclass(frozen=True)
class Recount:
    """What is found on a batch of adversarial images, each (N,).

    broken    misclassified under a valid perturbation, or without any
    valid     the attack's image is finite, inside the ball and inside the bounds
    distance  norm of the attack's perturbation: 0 where the clean image is misclassified, inf where the
              attack's image is not a valid misclassified one
    """

    broken: Tensor
    valid: Tensor
    distance: Tensor


@torch.no_grad()
def recount(
    model: nn.Module,
    images: Tensor,
    adversarial: Tensor,
    labels: Tensor,
    *,
    eps: float | None,
    norm: Norm,
) -> Recount:
    """Check ``adversarial`` (N, ...) against ``images`` in [0, 1]; ``eps`` None: no ball (minimal-distance attacks)."""
    finite = torch.isfinite(adversarial).flatten(1).all(1)
    safe = torch.where(per_image(finite, images), adversarial, images)
    low = safe.flatten(1).amin(1) >= UNIT[0] - ABSOLUTE_TOLERANCE
    high = safe.flatten(1).amax(1) <= UNIT[1] + ABSOLUTE_TOLERANCE
    valid = finite & low & high
    if eps is not None:
        valid &= inside_ball(safe - images, eps, norm)
    wrong_before = _wrong(model, images, labels)
    wrong_after = _wrong(model, safe, labels) & valid
    distance = norms(safe - images, norm).masked_fill(~wrong_after, float("inf")).masked_fill(wrong_before, 0.0)
    return Recount(wrong_before | wrong_after, valid, distance)


def per_image(flags: Tensor, like: Tensor) -> Tensor:
    """``flags`` (N,) shaped to broadcast over ``like`` (N, ...)."""
    return flags.view(-1, *[1] * (like.dim() - 1))


def _wrong(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    logits = model(images)
    return (logits.argmax(1) != labels) & torch.isfinite(logits).all(1)
