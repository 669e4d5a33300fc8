"""Asymmetric InfoNCE: adversarial views as inferior positives and hard negatives (Yu et al., ECCV 2022)."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from contrastbench.errors import UserError
from contrastbench.objectives.precision import in_float32


@in_float32
def asymmetric_nt_xent(
    first: Tensor,
    second: Tensor,
    adversarial: Tensor,
    *,
    temperature: float,
    clean_share: float,
    tau_plus: float,
    beta: float,
) -> Tensor:
    """A-InfoNCE with inferior positives and hard negatives (arXiv 2207.08374), as in its code on RoCL; a scalar.

    first, second, adversarial   embeddings (B, D) of three views of each image, normalised here

    With similarities s_ij = z_i . z_j / temperature, whose second factor carries no gradient, an anchor i has the term
    log(P_i + G_i) - s_ij for each positive j. P_i is the mean of e^{s_ij} over its two positives, and

        G_i = (sum_j w_ij / m_j e^{s_ij} - tau_plus N P_i) / (1 - tau_plus), at least N e^{-1/temperature}

    over the N = 3 (B - 1) views j of other images, with the importance w_ij = e^{beta s_ij} and m_j the sum of row j of
    w over its N negatives, divided by 3 B. (HCL divides by the anchor's mean importance, and by N.) Terms between the
    two clean views have weight 1. Between a clean and an adversarial view it is ``clean_share`` where the clean one is
    the anchor, which alone is moved, and 1 - ``clean_share`` where the adversarial one is. The sum is divided by 3 B.
    """
    batch = len(first)
    if batch < 2:
        raise UserError(f"a contrastive loss needs a batch of at least 2, not {batch}: there are no negatives")
    z = functional.normalize(torch.cat([first, second, adversarial]).float(), dim=1)
    similarity = (z @ z.detach().T - 1) / temperature  # less its bound, which cancels; nothing overflows
    same = torch.eye(batch, dtype=torch.bool, device=z.device).repeat(3, 3)
    itself = torch.eye(3 * batch, dtype=torch.bool, device=z.device)
    e = similarity.exp()
    positive = (e * (same & ~itself)).sum(dim=1) / 2
    negative = e.masked_fill(same, 0.0)
    importance = negative**beta
    hard = (negative * importance / importance.mean(dim=1)).sum(dim=1)
    count = 3 * (batch - 1)
    rest = ((hard - tau_plus * count * positive) / (1 - tau_plus)).clamp_min(count * math.exp(-2 / temperature))
    log_denominator = (positive + rest).log().split(batch)
    rows = [row.split(batch, dim=1) for row in similarity.split(batch)]

    def term(anchor: int, other: int) -> Tensor:
        return log_denominator[anchor] - rows[anchor][other].diagonal()

    clean = term(0, 1) + term(1, 0)
    towards_adversarial = term(0, 2) + term(1, 2)
    towards_clean = term(2, 0) + term(2, 1)
    return (clean + clean_share * towards_adversarial + (1 - clean_share) * towards_clean).mean() / 3
