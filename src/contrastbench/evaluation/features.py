"""Frozen features of an encoder, extracted once per checkpoint."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn


@torch.no_grad()
def extract_features(
    encoder: nn.Module,
    x: np.ndarray,
    to_tensor: Callable[[Tensor], Tensor],
    *,
    device: torch.device,
    batch_size: int = 256,
) -> np.ndarray:
    """Features (N, D) float32 of the stored array ``x`` (N, ...), encoder in eval mode, no augmentation."""
    encoder.eval().to(device)
    parts = []
    for start in range(0, len(x), batch_size):
        raw = torch.from_numpy(np.array(x[start : start + batch_size])).to(device)  # a copy: the map is read-only
        parts.append(encoder(to_tensor(raw)).float().cpu().numpy())
    return np.concatenate(parts)


def pixel_features(x: np.ndarray) -> np.ndarray:
    """The input itself as features (N, D): pixels in [0, 1], flattened."""
    return x.reshape(len(x), -1).astype(np.float32) / 255


def spectrogram_statistics(x: np.ndarray) -> np.ndarray:
    """Mean and standard deviation over time of each mel bin: (N, frames, mels) -> (N, 2 * mels)."""
    spectrograms = x.astype(np.float32)
    return np.concatenate([spectrograms.mean(axis=1), spectrograms.std(axis=1)], axis=1)
