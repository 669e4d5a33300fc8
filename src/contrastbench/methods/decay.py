"""Optimiser groups as in MAE: no weight decay on biases and other vectors."""

from collections.abc import Iterable

from torch import nn


def groups_with_decay(parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float) -> list[dict]:
    """One group for matrices (decayed) and one for vectors (not); frozen parameters are left out."""
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    matrices = [parameter for parameter in trainable if parameter.ndim > 1]
    vectors = [parameter for parameter in trainable if parameter.ndim <= 1]
    groups = [
        {"params": matrices, "lr": learning_rate, "weight_decay": weight_decay},
        {"params": vectors, "lr": learning_rate, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
