"""Reconstruction of masked patches (MAE, He et al., 2022; AudioMAE, Huang et al., 2022)."""

from torch import Tensor

from contrastbench.models.patches import target_statistics
from contrastbench.params.vit import Target


def masked_reconstruction_loss(prediction: Tensor, patches: Tensor, hidden: Tensor, target: Target) -> Tensor:
    """Mean squared error over hidden patches only, to the ``target`` that is made of the patches.

    prediction, patches (B, N, P * P); hidden (B, N) bool, at least one True; target as in
    :func:`contrastbench.models.patches.target_statistics`. Computed in float32. Returns a scalar.
    """
    patches = patches.float()
    mean, std = target_statistics(patches, target)
    error = (prediction.float() - (patches - mean) / std).square().mean(dim=2)
    return (error * hidden).sum() / hidden.sum()
