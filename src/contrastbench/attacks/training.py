"""The attack inside adversarial training: l_inf sign steps on any loss, with all images taking every step.

Madry et al. 2018 (arXiv 1706.06083), section 2.1; the loss is the method's own (specification of SwARo, 1.3).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from contrastbench.attacks.geometry import UNIT, Radius, check_inputs, per_example, project, random_perturbation
from contrastbench.augment.host import is_queued

# TRADES starts this many standard deviations from the image (specification of SwARo, section 3, AFF).
GAUSSIAN_START = 0.001


def training_attack(
    model: nn.Module,
    images: Tensor,
    ascend: Callable[[Tensor], Tensor],
    *,
    eps: Radius,
    step_size: float,
    steps: int,
    generator: Generator,
    start: Literal["uniform", "gaussian", "image"] = "uniform",
) -> Tensor:
    """Perturb ``images`` (B, C, H, W) in [0, 1] to increase ``ascend``; detached, inside the ball and [0, 1].

    model   holds every weight that ``ascend`` uses; in eval mode and without parameter gradients during the attack,
            and restored afterwards, .grad included
    ascend  perturbed images -> what to maximise, a scalar or one value (B,) per image
    eps     radius of the l_inf ball: one number, or (B,) with one radius per image (0 leaves an image unchanged)
    start   uniform in the ball, a Gaussian of 0.001 around the image, or the image itself

    Raises UserError, on the CPU, for images outside [0, 1] or a negative ``eps``.
    """
    if not is_queued(images.device):  # in every step of training, the host would wait for the answer
        check_inputs(images, UNIT, eps)
    images = images.detach()
    x = images + _start(images, eps, start, generator)
    with frozen(model), torch.enable_grad():
        for _ in range(steps):
            x = _into_ball(x, images, eps).requires_grad_()
            (gradient,) = torch.autograd.grad(ascend(x).sum(), x)
            x = x.detach() + step_size * gradient.sign()
    return _into_ball(x, images, eps)


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Inside the block ``model`` is in eval mode and its parameters require no gradient; afterwards it is restored."""
    modes = [(module, module.training) for module in model.modules()]
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        model.eval()
        for parameter in wanted:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)
        for module, mode in modes:
            module.training = mode


def _start(images: Tensor, eps: Radius, start: str, generator: Generator) -> Tensor:
    if start == "uniform":
        return random_perturbation(images, eps, "linf", generator)
    if start == "gaussian":
        return GAUSSIAN_START * torch.randn(images.shape, generator=generator, device=images.device)
    return torch.zeros_like(images)


def _into_ball(x: Tensor, images: Tensor, eps: Radius) -> Tensor:
    return (images + project(x - images, per_example(eps, images), "linf")).clamp(0, 1)
