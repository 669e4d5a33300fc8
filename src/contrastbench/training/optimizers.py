"""Optimisers and the learning-rate schedule."""

import math

import torch

from contrastbench.methods import Method
from contrastbench.params.training import TrainingParams


def build_optimizer(method: Method, params: TrainingParams) -> torch.optim.Optimizer:
    """The optimiser over the method's parameter groups.

    ``lars`` is SGD with momentum 0.9 and layer-wise adaptive rates, trust coefficient 0.001, without clipping, as
    SwAV trains (specification of SwARo, section 2). AdamW's betas are (0.9, 0.95), as in MAE.
    """
    groups = method.parameter_groups(params.learning_rate, params.weight_decay)
    if params.optimizer == "adam":
        return torch.optim.Adam(groups, lr=params.learning_rate, weight_decay=params.weight_decay)
    if params.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=params.learning_rate, betas=(0.9, 0.95), fused=True)
    if params.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=params.learning_rate, momentum=0.9)
    from timm.optim import Lars  # timm is slow to import, and only this choice needs it

    return Lars(groups, lr=params.learning_rate, momentum=0.9, trust_coeff=0.001)


def learning_rate_factor(step: int, total_steps: int, warmup_steps: float, final_fraction: float) -> float:
    """Linear warm-up over ``warmup_steps``, then half a cosine from 1 down to ``final_fraction``."""
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / max(1.0, total_steps - warmup_steps)
    return final_fraction + (1 - final_fraction) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
