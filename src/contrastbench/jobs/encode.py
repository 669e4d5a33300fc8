"""Frozen features of a data set: of an encoder, or of the input itself where there is none."""

import numpy as np
import torch

from contrastbench.datasets.store import Prepared
from contrastbench.evaluation.features import extract_features, pixel_features, spectrogram_statistics
from contrastbench.jobs.modality import to_tensor_for
from contrastbench.methods import Method


def encode(method: Method, data: Prepared, device: str) -> dict[str, np.ndarray]:
    """Features of every labelled split of ``data``."""
    to_tensor = to_tensor_for(data)
    return {
        split: extract_features(method.encoder, data.x(split), to_tensor, device=torch.device(device))
        for split in data.meta.splits
        if split != "unlabeled"
    }


def input_features(data: Prepared, split: str) -> np.ndarray:
    """What stands for features where there is no encoder: pixels, or statistics of spectrograms over time."""
    x = data.x(split)
    return pixel_features(x) if data.meta.modality == "image" else spectrogram_statistics(x)
