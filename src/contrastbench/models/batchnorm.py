"""Two sets of BatchNorm statistics and affine parameters in one network: one for clean, one for adversarial batches.

ACL (Jiang et al., NeurIPS 2020, dual stream) and CLAE (Ho and Vasconcelos, NeurIPS 2020) train clean and
adversarial views through the same weights but separate BatchNorm, because their statistics differ (Xie et al.,
CVPR 2020, "Adversarial Examples Improve Image Recognition").
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from torch import Tensor, nn

Branch = Literal["clean", "adversarial"]


class DualBatchNorm(nn.Module):
    """Two BatchNorm layers side by side, equal at first; ``active`` names the one in use."""

    active: Branch = "clean"

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        super().__init__()
        self.clean = norm
        self.adversarial = copy.deepcopy(norm)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the active layer to ``x``; the other layer's statistics do not change."""
        return self.clean(x) if self.active == "clean" else self.adversarial(x)


def with_dual_batchnorm(module: nn.Module) -> nn.Module:
    """Replace every BatchNorm1d/2d inside ``module`` by a :class:`DualBatchNorm`, in place; return the module."""
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        return DualBatchNorm(module)
    if not isinstance(module, DualBatchNorm):
        for name, child in module.named_children():
            setattr(module, name, with_dual_batchnorm(child))
    return module


def select_branch(module: nn.Module, active: Branch) -> None:
    """Make ``module`` use its ``clean`` or ``adversarial`` BatchNorm layers from now on."""
    for layer in module.modules():
        if isinstance(layer, DualBatchNorm):
            layer.active = active


@contextmanager
def branch(module: nn.Module, active: Branch) -> Iterator[None]:
    """Inside the block, ``module`` uses its ``clean`` or ``adversarial`` BatchNorm layers."""
    if active not in ("clean", "adversarial"):
        raise ValueError(f"unknown BatchNorm branch {active!r}")
    layers = [layer for layer in module.modules() if isinstance(layer, DualBatchNorm)]
    before = [layer.active for layer in layers]
    try:
        select_branch(module, active)
        yield
    finally:
        for layer, previous in zip(layers, before, strict=True):
            layer.active = previous
