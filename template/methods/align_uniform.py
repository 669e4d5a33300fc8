"""Alignment and uniformity on the hypersphere (Wang and Isola, 2020, arXiv 2005.10242)."""

import math
from typing import Any

import torch
from torch import Tensor

from contrastbench.methods.base import Batch, Step
from contrastbench.methods.contrastive_base import ContrastiveMethod
from contrastbench.objectives.contrastive import normalized_pair

METHOD = {
    "name": "align-uniform",
    "class": "AlignUniform",
    "modalities": ["image"],
    "settings": {"weight": {"default": 1.0, "ge": 0}, "scale": {"default": 2.0, "gt": 0}},
}


def align_uniform_loss(z1: Tensor, z2: Tensor, *, weight: float, scale: float) -> Tensor:
    """E |z1 - z2|^2 + weight * log E e^{-scale |z_i - z_j|^2}: L_align with alpha 2, and L_uniform.

    z1, z2: (B, D) embeddings of two views, normalised here; pairs i < j are of one view, the mean is over both views.
    Returns a scalar. On the sphere |a - b|^2 = 2 - 2 a . b.
    """
    first, second = normalized_pair(z1, z2).chunk(2)
    alignment = 2 - 2 * (first * second).sum(dim=1).mean()
    return alignment + weight * (_uniformity(first, scale) + _uniformity(second, scale)) / 2


def _uniformity(z: Tensor, scale: float) -> Tensor:
    rows, columns = torch.triu_indices(len(z), len(z), offset=1, device=z.device)
    similarity = (z @ z.T)[rows, columns]
    return torch.logsumexp(2 * scale * (similarity - 1), dim=0) - math.log(len(rows))


class AlignUniform(ContrastiveMethod):
    """Two views close together, all images spread over the sphere."""

    settings: Any  # with the values that params.yaml says for what METHOD declares

    def training_step(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """One step; ``embeddings`` feed the monitor that warns of a collapse."""
        first, second = (self.project(view).output for view in batch.views)
        loss = align_uniform_loss(first, second, weight=self.settings.weight, scale=self.settings.scale)
        return {"loss": loss, "embeddings": first.detach()}
