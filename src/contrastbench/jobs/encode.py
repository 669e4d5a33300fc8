"""Frozen features of a data set: of an encoder, or of the input itself where there is none."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from contrastbench.datasets.store import Prepared
from contrastbench.evaluation.features import extract_features
from contrastbench.methods import Method
from contrastbench.modalities import modality_of

Features = dict[str, np.ndarray]


def encode(method: Method, data: Prepared, device: str, trained_on: Prepared | None = None) -> Features:
    """Features of every labelled split of ``data``.

    Inputs of another shape than those that the method was ``trained_on`` are adapted as their modality says; a
    UserError where they cannot be.
    """
    kind = modality_of(data)
    adapt = None if trained_on is None else kind.adaptation(kind.input_shape(data), kind.input_shape(trained_on))

    def inputs(rows: Any, on: torch.device) -> Tensor:
        plain = kind.inputs(rows, on)
        return plain if adapt is None else adapt(plain)

    return {
        split: extract_features(method.encoder, kind.examples(data, split), inputs, device=torch.device(device))
        for split in _labelled(data)
    }


def reference_features(data: Prepared) -> Features:
    """What stands for features of every labelled split where there is no encoder."""
    return {split: modality_of(data).reference_features(data, split) for split in _labelled(data)}


def _labelled(data: Prepared) -> list[str]:
    return [split for split in data.meta.splits if split != "unlabeled"]
