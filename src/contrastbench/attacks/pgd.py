"""Projected gradient descent (Madry et al. 2018, arXiv 1706.06083, section 2.1) with an active set.

Untargeted, with cross-entropy as the loss; images that are fooled leave the batch. The iterate kept for an image is
one that fools the model if there is one, else the one with the highest loss, so that the attack never ends weaker
than it was along the way. An image that is misclassified without any perturbation counts as fooled at once and costs
one pass, or none where the caller knows it. Tested against Foolbox's PGD (tests/test_pgd.py).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from contrastbench.attacks.geometry import (
    UNIT,
    Bounds,
    Norm,
    Radius,
    check_inputs,
    per_example,
    project,
    random_perturbation,
    steepest_ascent,
)
from contrastbench.attacks.logits import refuse_probabilities
from contrastbench.attacks.recount import per_image
from contrastbench.errors import UserError


@dataclass(frozen=True)
class Perturbed:
    """Result of an attack: the kept images (N, C, H, W), and whether each is misclassified (N,)."""

    images: Tensor
    fooled: Tensor


def pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    eps: Radius,
    steps: int,
    step_size: Radius,
    generator: Generator,
    norm: Norm = "linf",
    active_set: bool = True,
    misclassified: Tensor | None = None,
    bounds: Bounds = UNIT,
    batch_size: int = 256,
) -> Perturbed:
    """Attack ``images`` (N, ...) with class numbers ``labels`` (N,), from random starts, uniform in the ball.

    model       returns logits, in eval mode
    eps         radius of the ball: one number, or (N,) with one radius per image
    step_size   length of a step in the same norm: one number, or (N,)
    generator   on the model's device; the only source of randomness
    active_set  False: every image takes every step and the iterate with the highest loss is kept, as transfer
                attacks need: an image that barely fools its source rarely fools another model
    misclassified  (N,) bool: which unperturbed images the model misclassifies, where the caller knows it; saves
                the pass that finds out

    Images may be on another device than the model: one batch at a time is moved to the generator's device.
    Raises UserError for images outside ``bounds``, a negative ``eps``, and a model without gradients or whose
    outputs are probabilities.
    """
    check_inputs(images, bounds, eps)
    eps = eps.to(generator.device) if isinstance(eps, Tensor) else eps
    kept, fooled = [], []
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        attack = _Batch(
            model,
            images[part].to(generator.device),
            labels[part].to(generator.device),
            eps=_slice(eps, part),
            step_size=_slice(step_size, part),
            norm=norm,
            active_set=active_set,
            bounds=bounds,
        )
        if misclassified is not None:
            attack.fooled |= misclassified[part].to(attack.fooled.device)
        else:
            attack.classify_clean()
        attack.descend(steps, generator)
        kept.append(attack.best.to(images.device))
        fooled.append(attack.fooled.to(images.device))
    return Perturbed(torch.cat(kept), torch.cat(fooled))


class _Batch:
    """One batch under attack: the best iterate of every image so far."""

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        eps: Radius,
        step_size: Radius,
        norm: Norm,
        active_set: bool,
        bounds: Bounds,
    ) -> None:
        self.model, self.clean, self.labels = model, images, labels
        self.eps, self.step_size, self.norm = eps, step_size, norm
        self.active_set, self.bounds = active_set, bounds
        self.best = images.clone()
        self.best_loss = torch.full((len(images),), -torch.inf, dtype=images.dtype, device=images.device)
        self.fooled = torch.zeros(len(images), dtype=torch.bool, device=images.device)

    def classify_clean(self) -> None:
        """Mark the images that are misclassified without any perturbation as fooled."""
        with torch.no_grad():
            logits = self.model(self.clean)
        refuse_probabilities(logits)
        loss = F.cross_entropy(logits, self.labels, reduction="none")
        self._record(torch.arange(len(loss), device=loss.device), self.clean, logits, loss)

    def descend(self, steps: int, generator: Generator) -> None:
        """Take ``steps`` steps from a random start."""
        active = torch.arange(len(self.clean), device=self.clean.device)
        if self.active_set:
            active = torch.nonzero(~self.fooled).flatten()
        clean, eps, step_size = self._of(active)
        # Sampled for the whole batch, so that an image's start does not depend on which others are active.
        noise = random_perturbation(self.clean, self.eps, self.norm, generator)[active]
        x = (clean + noise).clamp(*self.bounds)
        for number in range(steps + 1):
            if not len(active):
                return
            last = number == steps
            x = x.detach().requires_grad_(not last)
            with torch.set_grad_enabled(not last):
                logits = self.model(x)
                if number == 0:
                    refuse_probabilities(logits)
                loss = F.cross_entropy(logits, self.labels[active], reduction="none")
            self._record(active, x.detach(), logits.detach(), loss.detach())
            if last:
                return
            gradient, x = _gradient(loss.sum(), x), x.detach()
            if self.active_set and leaves_now(number, self.clean.device):
                remains = torch.nonzero(~self.fooled[active]).flatten()
                active, gradient, x = active[remains], gradient[remains], x[remains]
                clean, eps, step_size = self._of(active)
            x = x + per_example(step_size, x) * steepest_ascent(gradient, self.norm)
            x = (clean + project(x - clean, eps, self.norm)).clamp(*self.bounds)

    def _of(self, active: Tensor) -> tuple[Tensor, Radius, Radius]:
        return self.clean[active], _slice(self.eps, active), _slice(self.step_size, active)

    def _record(self, active: Tensor, x: Tensor, logits: Tensor, loss: Tensor) -> None:
        """Keep the iterates that are better than those kept so far."""
        fooled, before = _misclassified(logits, self.labels[active]), self.fooled[active]
        better = (fooled & ~before) | ((fooled == before) & (loss > self.best_loss[active]))
        if self.active_set:
            better &= ~before
        self.best[active] = torch.where(per_image(better, x), x, self.best[active])
        self.best_loss[active] = torch.where(better, loss, self.best_loss[active])
        self.fooled[active] = before | fooled


def leaves_now(number: int, device: torch.device) -> bool:
    """Whether fooled images leave the batch after iterate ``number``.

    How many are left must be read back from the device, which costs nothing on a CPU. An accelerator waits for it;
    there they leave after the iterates 0, 1, 3, 7, 15, ..., and what is kept for them no longer changes until then.
    """
    return device.type == "cpu" or (number + 1).bit_count() == 1


def _misclassified(logits: Tensor, labels: Tensor) -> Tensor:
    # Logits that are not finite prove nothing: such an image does not count as fooled.
    return (logits.argmax(1) != labels) & torch.isfinite(logits).all(1)


def _gradient(loss: Tensor, x: Tensor) -> Tensor:
    if not loss.requires_grad:
        raise UserError("this attack needs gradients, and the model's output has none; use Square or HopSkipJump")
    (gradient,) = torch.autograd.grad(loss, x)
    return torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)


def _slice(values: Radius, part: Tensor | slice) -> Radius:
    if not isinstance(values, Tensor) or not values.dim():
        return values
    return values[part.to(values.device) if isinstance(part, Tensor) else part]
