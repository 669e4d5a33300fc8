"""Frozen features of a data set: of an encoder, or of the input itself where there is none."""

import numpy as np
import torch

from contrastbench.datasets.store import Prepared
from contrastbench.evaluation.features import extract_features
from contrastbench.methods import Method
from contrastbench.modalities import modality_of


def encode(method: Method, data: Prepared, device: str) -> dict[str, np.ndarray]:
    """Features of every labelled split of ``data``."""
    kind = modality_of(data)
    return {
        split: extract_features(method.encoder, kind.examples(data, split), kind.inputs, device=torch.device(device))
        for split in _labelled(data)
    }


def reference_features(data: Prepared) -> dict[str, np.ndarray]:
    """What stands for features of every labelled split where there is no encoder."""
    return {split: modality_of(data).reference_features(data, split) for split in _labelled(data)}


def _labelled(data: Prepared) -> list[str]:
    return [split for split in data.meta.splits if split != "unlabeled"]
