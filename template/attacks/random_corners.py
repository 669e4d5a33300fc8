"""Random search for the weak: the worst of several random corners of the l_inf ball."""

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy

ATTACK = {"name": "random-corners", "norm": "linf", "settings": {"tries": {"default": 8, "ge": 1}}}


@torch.no_grad()
def attack(model: nn.Module, images: Tensor, labels: Tensor, *, eps: float, generator: Generator, tries: int) -> Tensor:
    """For each of ``images`` (B, C, H, W) in [0, 1], of ``tries`` random corners the one with the largest loss."""
    worst, highest = images, torch.full((len(images),), -torch.inf, device=images.device)
    for _ in range(tries):
        signs = torch.randint(0, 2, images.shape, generator=generator, device=images.device) * 2 - 1
        perturbed = (images + eps * signs).clamp(0, 1)
        loss = cross_entropy(model(perturbed), labels, reduction="none")
        worst = torch.where((loss > highest).view(-1, 1, 1, 1), perturbed, worst)
        highest = torch.maximum(loss, highest)
    return worst
