"""Spectrograms as rows of patches, and back."""

from torch import Tensor

EPSILON = 1e-6  # MAE's, inside the root


def patchify(x: Tensor, patch: int) -> Tensor:
    """(B, 1, T, F) -> (B, N, P * P): patches in row-major order (time first), and so the pixels within a patch."""
    tiles = x[:, 0].unflatten(1, (-1, patch)).unflatten(3, (-1, patch))  # (B, T/P, P, F/P, P)
    return tiles.transpose(2, 3).flatten(3).flatten(1, 2)


def unpatchify(patches: Tensor, grid: tuple[int, int], patch: int) -> Tensor:
    """The inverse of :func:`patchify`: (B, N, P * P) -> (B, 1, T, F), for a ``grid`` of (T/P, F/P) patches."""
    tiles = patches.unflatten(1, grid).unflatten(3, (patch, patch)).transpose(2, 3)
    return tiles.flatten(3).flatten(1, 2).unsqueeze(1)


def patch_statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (unbiased, at least 1e-3) of each patch's pixels, (B, N, 1) each."""
    mean = patches.mean(dim=2, keepdim=True)
    variance = (patches - mean).square_().sum(dim=2, keepdim=True) / (patches.shape[2] - 1)  # faster than torch.var
    return mean, (variance + EPSILON).sqrt()
