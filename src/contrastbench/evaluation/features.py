"""Frozen features of an encoder, extracted once per checkpoint."""

import numpy as np
import torch
from torch import nn

from contrastbench.augment.host import is_queued
from contrastbench.modalities import Stored
from contrastbench.modalities.base import Inputs

# Examples at once, which a CPU's cache and a GPU's many cores prefer.
CPU_BATCH, GPU_BATCH = 256, 4096


@torch.no_grad()
def extract_features(encoder: nn.Module, x: Stored, inputs: Inputs, *, device: torch.device) -> np.ndarray:
    """Features (N, D) float32 of the stored examples ``x``, encoder in eval mode, no augmentation.

    Batches are halved until a GPU's memory holds them.
    """
    encoder.eval().to(device)
    size, parts, start = GPU_BATCH if is_queued(device) else CPU_BATCH, [], 0
    while start < len(x):
        rows = x[np.arange(start, min(len(x), start + size))]
        try:
            parts.append(encoder(inputs(rows, device)).float().cpu().numpy())
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size //= 2
        else:
            start += size
    return np.concatenate(parts)
