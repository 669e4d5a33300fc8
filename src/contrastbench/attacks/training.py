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

Start = Literal["uniform", "unclipped-uniform", "gaussian", "image"]

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
    start: Start = "uniform",
) -> Tensor:
    """Perturb ``images`` (B, C, H, W) in [0, 1] to increase ``ascend``; detached, inside the ball and [0, 1].

    model   holds every weight that ``ascend`` uses; in eval mode and without parameter gradients during the attack,
            and restored afterwards, .grad included
    ascend  perturbed images -> what to maximise, a scalar or one value (B,) per image
    eps     radius of the l_inf ball: one number, or (B,) with one radius per image (0 leaves an image unchanged)
    steps   1 or more; each ends inside the ball and [0, 1]
    start   uniform in the ball and clipped to [0, 1] (Madry's code, RoCL's) or not clipped (ACL's), a Gaussian of
            0.001 around the image, not clipped (TRADES's), or the image itself

    Raises UserError, on the CPU, for images outside [0, 1] or a negative ``eps``.
    """
    if not is_queued(images.device):  # in every step of training, the host would wait for the answer
        check_inputs(images, UNIT, eps)
    images = images.detach()
    x = _start(images, eps, start, generator)
    with frozen(model), torch.enable_grad():
        for _ in range(steps):
            x = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(ascend(x).sum(), x)
            x = _into_ball(x.detach() + step_size * gradient.sign(), images, eps)
    return x


@contextmanager
def frozen(model: nn.Module, *, in_eval_mode: bool = True) -> Iterator[None]:
    """Inside the block the parameters of ``model`` require no gradient; afterwards it is restored.

    It is in eval mode, or with ``in_eval_mode=False`` in the mode that it was in: BatchNorm in train mode then
    normalises by the batch, and its running statistics move.
    """
    modes = [(module, module.training) for module in model.modules()]
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        if in_eval_mode:
            model.eval()
        for parameter in wanted:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)
        for module, mode in modes:
            module.training = mode


def _start(images: Tensor, eps: Radius, start: Start, generator: Generator) -> Tensor:
    if start == "image":
        return images
    if start == "gaussian":
        return images + GAUSSIAN_START * torch.randn(images.shape, generator=generator, device=images.device)
    x = images + random_perturbation(images, eps, "linf", generator)
    return x if start == "unclipped-uniform" else _into_ball(x, images, eps)


def _into_ball(x: Tensor, images: Tensor, eps: Radius) -> Tensor:
    return (images + project(x - images, per_example(eps, images), "linf")).clamp(0, 1)
