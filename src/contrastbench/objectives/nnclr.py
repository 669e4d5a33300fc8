"""NNCLR with soft virtual labels (specification of uaMix-MAE, 1.4, steps 5-7).

NNCLR is from Dwibedi et al., 2021; the head around it is MAE-CT's (Lehner et al., 2023). The rows are nearest
neighbours from a queue and pass no gradient: only the symmetrised loss lets gradients reach the encoder through the
mixtures as well as through the clean views.
"""

import torch
from torch import Tensor
from torch.nn import functional


def nnclr_loss(neighbours: Tensor, predictions: Tensor, labels: Tensor, *, temperature: float) -> Tensor:
    """Cross-entropy of soft labels: -(1/B) sum_i sum_n Y_in log softmax_n(q_i . p_n / temperature).

    neighbours   q (B, D), L2-normalised queue entries found for one side; no gradient passes through them
    predictions  p (B, D) of the other side, normalised here
    labels       Y (B, B), rows sum to 1, or to 1 on average; the identity gives plain NNCLR
    Returns a scalar, computed in float32.
    """
    with torch.autocast(predictions.device.type, enabled=False):
        predictions = functional.normalize(predictions.float(), dim=1)
        logits = neighbours.detach().float() @ predictions.T / temperature
        return functional.cross_entropy(logits, labels)


def mixed_nnclr_loss(
    mixed_neighbours: Tensor,
    clean_predictions: Tensor,
    clean_neighbours: Tensor,
    mixed_predictions: Tensor,
    labels: Tensor,
    *,
    temperature: float,
) -> Tensor:
    """(L_a + L_b) / 2: mixtures' neighbours against clean views with Y, clean neighbours against mixtures with Y^T.

    Where lambda differs from sample to sample, a clean view counts in L_b by how much of it the mixtures hold.
    """
    forward = nnclr_loss(mixed_neighbours, clean_predictions, labels, temperature=temperature)
    backward = nnclr_loss(clean_neighbours, mixed_predictions, labels.T, temperature=temperature)
    return (forward + backward) / 2
