"""Spectrograms as rows of patches and back, and what is predicted of a patch."""

from torch import Tensor

from contrastbench.params.vit import Target

EPSILON = 1e-6  # MAE's, inside the root


def patchify(x: Tensor, patch: int) -> Tensor:
    """(B, 1, T, F) -> (B, N, P * P): patches in row-major order (time first), and so the pixels within a patch."""
    tiles = x[:, 0].unflatten(1, (-1, patch)).unflatten(3, (-1, patch))  # (B, T/P, P, F/P, P)
    return tiles.transpose(2, 3).flatten(3).flatten(1, 2)


def unpatchify(patches: Tensor, grid: tuple[int, int], patch: int) -> Tensor:
    """The inverse of :func:`patchify`: (B, N, P * P) -> (B, 1, T, F), for a ``grid`` of (T/P, F/P) patches."""
    tiles = patches.unflatten(1, grid).unflatten(3, (patch, patch)).transpose(2, 3)
    return tiles.flatten(3).flatten(1, 2).unsqueeze(1)


def target_statistics(patches: Tensor, target: Target) -> tuple[Tensor, Tensor]:
    """What is subtracted from the pixels of ``patches`` (B, N, P * P), and what divides them, to give the ``target``.

    raw           0 and 1: the spectrogram as the encoder sees it, normalised by the data set's statistics
    standardised  mean and standard deviation of each whole spectrogram, (B, 1, 1) each
    normalised    those of each patch (MAE, AudioMAE), (B, N, 1) each
    Standard deviations are unbiased, and at least 1e-3.
    """
    if target == "raw":
        return patches.new_zeros(()), patches.new_ones(())
    pixels = patches if target == "normalised" else patches.flatten(1).unsqueeze(1)
    mean = pixels.mean(dim=2, keepdim=True)
    variance = (pixels - mean).square_().sum(dim=2, keepdim=True) / (pixels.shape[2] - 1)  # faster than torch.var
    return mean, (variance + EPSILON).sqrt()
