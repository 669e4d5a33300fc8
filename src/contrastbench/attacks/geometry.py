"""Balls and steps of the three norms that bound attacks.

Tensors are (B, ...) batches; norms are taken over all dimensions but the first. ``eps`` is one number or a
tensor (B,) with one radius per example.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from contrastbench.errors import UserError

Norm = Literal["linf", "l2", "l1"]
Bounds = tuple[float, float]
Radius = float | Tensor

UNIT: Bounds = (0.0, 1.0)  # of pixels
# Single precision: x + delta - x differs from delta by up to one unit in the last place of x per pixel.
ABSOLUTE_TOLERANCE = 1e-6
RELATIVE_TOLERANCE = 1e-4  # of l2 and l1 radii, where such differences add up over the pixels


def norms(delta: Tensor, norm: Norm) -> Tensor:
    """The norm (B,) of every perturbation in ``delta`` (B, ...)."""
    order = {"linf": float("inf"), "l2": 2.0, "l1": 1.0}[norm]
    return torch.linalg.vector_norm(delta.flatten(1), ord=order, dim=1)


def inside_ball(delta: Tensor, eps: Radius, norm: Norm) -> Tensor:
    """Whether (B,) each perturbation lies in the ball, up to rounding (see the tolerances above)."""
    slack = 0.0 if norm == "linf" else RELATIVE_TOLERANCE
    return norms(delta, norm) <= eps * (1 + slack) + ABSOLUTE_TOLERANCE


def project(delta: Tensor, eps: Radius, norm: Norm) -> Tensor:
    """The nearest perturbation inside the ball; not for l1, whose projection is not a rescaling."""
    radius = per_example(eps, delta)
    if norm == "linf":
        return torch.minimum(torch.maximum(delta, -radius), radius)
    length = per_example(norms(delta, _smooth(norm)), delta)
    return delta * (radius / length.clamp_min(1e-12)).clamp_max(1)


def random_perturbation(like: Tensor, eps: Radius, norm: Norm, generator: Generator) -> Tensor:
    """A perturbation sampled uniformly from the ball, shaped like ``like`` (B, ...)."""
    radius = per_example(eps, like)
    if norm == "linf":
        return radius * (2 * torch.rand(like.shape, generator=generator, device=like.device) - 1)
    _smooth(norm)
    # The first n coordinates of a point on the sphere in n + 2 dimensions are uniform in the n-ball (Voelker 2017).
    size = like[0].numel()
    point = torch.randn(len(like), size + 2, generator=generator, device=like.device)
    point = point / torch.linalg.vector_norm(point, dim=1, keepdim=True)
    return radius * point[:, :size].view_as(like)


def steepest_ascent(gradient: Tensor, norm: Norm) -> Tensor:
    """The unit-norm direction in which a linear function with this gradient increases fastest."""
    if norm == "linf":
        return gradient.sign()
    return gradient / per_example(norms(gradient, _smooth(norm)), gradient).clamp_min(1e-12)


def per_example(values: Radius, like: Tensor) -> Tensor:
    """``values`` (a number or (B,)) shaped to broadcast over ``like`` (B, ...)."""
    if not isinstance(values, Tensor):
        return torch.full((), values, dtype=like.dtype, device=like.device)  # as_tensor would copy, and wait for it
    return values.to(like).view(-1, *[1] * (like.dim() - 1)) if values.dim() else values.to(like)


def _smooth(norm: Norm) -> Norm:
    if norm != "l2":
        raise ValueError(f"norm {norm!r}: our own attacks support linf and l2; for l1 use Foolbox's PGD or APGD")
    return norm


def check_inputs(images: Tensor, bounds: Bounds, eps: Radius) -> None:
    """Refuse meaningless input: a negative or infinite radius, values outside the bounds or not finite."""
    radius = torch.as_tensor(eps)
    if not bool((torch.isfinite(radius) & (radius >= 0)).all()):
        raise UserError(f"eps = {eps}: must be 0 or more and finite")
    if not torch.isfinite(images).all():
        raise UserError("the images to attack contain values that are not finite")
    low, high = float(images.min()), float(images.max())
    if low < bounds[0] or high > bounds[1]:
        raise UserError(
            f"the images to attack lie in [{low:.4g}, {high:.4g}]; attacks expect [{bounds[0]:g}, {bounds[1]:g}] "
            "(normalisation belongs inside the model)"
        )


def require_gradients(model: nn.Module, image: Tensor, attack: str) -> None:
    """Refuse a model whose output does not depend on its input through gradients."""
    with torch.enable_grad():
        if not model(image.detach().clone().requires_grad_()).requires_grad:
            raise UserError(
                f"{attack} needs gradients, and the model's output has none; use Square or HopSkipJump instead"
            )


@contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Seed torch's global generators for a library that uses them, and restore their state afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


class ImagePasses:
    """Counts the images that pass through a model: ``with ImagePasses(model) as passes: ...; passes.images``.

    ``forward_only`` counts those of them that passed with gradients disabled.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.images = 0
        self.forward_only = 0

    def __enter__(self) -> "ImagePasses":
        self._handle = self._model.register_forward_pre_hook(self._count)
        return self

    def _count(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.images += len(inputs[0])
        if not torch.is_grad_enabled():
            self.forward_only += len(inputs[0])

    def __exit__(self, *_: object) -> None:
        self._handle.remove()
