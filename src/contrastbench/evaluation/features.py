"""Frozen features of an encoder, extracted once per checkpoint."""

import numpy as np
import torch
from torch import nn

from contrastbench.modalities import Stored
from contrastbench.modalities.base import Inputs


@torch.no_grad()
def extract_features(
    encoder: nn.Module,
    x: Stored,
    inputs: Inputs,
    *,
    device: torch.device,
    batch_size: int = 256,
) -> np.ndarray:
    """Features (N, D) float32 of the stored examples ``x``, encoder in eval mode, no augmentation."""
    encoder.eval().to(device)
    parts = []
    for start in range(0, len(x), batch_size):
        rows = x[np.arange(start, min(len(x), start + batch_size))]
        parts.append(encoder(inputs(rows, device)).float().cpu().numpy())
    return np.concatenate(parts)
