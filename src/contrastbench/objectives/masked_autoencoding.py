"""Reconstruction of masked patches (MAE, He et al., 2022; AudioMAE, Huang et al., 2022)."""

from torch import Tensor

from contrastbench.models.patches import patch_statistics


def masked_reconstruction_loss(prediction: Tensor, patches: Tensor, hidden: Tensor) -> Tensor:
    """Mean squared error over hidden patches only, each target patch normalised to mean 0 and variance 1.

    prediction, patches (B, N, P * P); hidden (B, N) bool, at least one True. Computed in float32.
    Returns a scalar.
    """
    mean, std = patch_statistics(patches.float())
    error = (prediction.float() - (patches.float() - mean) / std).square().mean(dim=2)
    return (error * hidden).sum() / hidden.sum()
