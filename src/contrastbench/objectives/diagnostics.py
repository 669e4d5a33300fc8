"""How a method chose its negatives, measured with labels; for the log only, never part of a loss."""

import torch
from torch import Tensor

from contrastbench.objectives.unremix import Scores


def false_negative_rate(weight: Tensor, negative: Tensor, labels: Tensor, top: float) -> float:
    """Share of same-class samples among each anchor's most heavily weighted ``top`` share of negatives.

    weight (2B, 2B), negative (2B, 2B) bool, labels (2B,). With ``top`` = 1 this is the base rate.
    """
    same = labels.unsqueeze(1) == labels.unsqueeze(0)
    count = max(1, round(top * int(negative[0].sum())))
    heaviest = weight.masked_fill(~negative, -1).topk(count, dim=1).indices
    return float(same.gather(1, heaviest).float().mean())


def weighted_false_negative_rate(weight: Tensor, negative: Tensor, labels: Tensor) -> float:
    """Share of the total weight that falls on same-class negatives."""
    same = (labels.unsqueeze(1) == labels.unsqueeze(0)) & negative
    return float(((weight * same).sum(dim=1) / (weight * negative).sum(dim=1)).mean())


def effective_negatives(weight: Tensor, negative: Tensor) -> float:
    """exp(entropy of the weights) / |N|: 1 for equal weights, 1/|N| when one negative takes all."""
    share = weight * negative
    share = share / share.sum(dim=1, keepdim=True)
    entropy = -(share * share.clamp_min(1e-30).log()).sum(dim=1)
    return float((entropy.exp() / negative.sum(dim=1)).mean())


def rank_correlations(scores: Scores) -> dict[str, float]:
    """Spearman's correlations of the three scores over each anchor's negatives, averaged over anchors."""
    rows = len(scores.negative)
    names = ("uncertainty", "similarity", "representativeness")
    ranks = {}
    for name in names:
        values = getattr(scores, name)[scores.negative].view(rows, -1)
        rank = values.argsort(dim=1).argsort(dim=1).float()
        rank = rank - rank.mean(dim=1, keepdim=True)
        ranks[name] = rank / rank.norm(dim=1, keepdim=True).clamp_min(1e-12)
    return {
        f"rank_{first}_{second}": float((ranks[first] * ranks[second]).sum(dim=1).mean())
        for position, first in enumerate(names)
        for second in names[position + 1 :]
    }


# The share of each anchor's negatives that counts as heavily weighted.
TOP = 0.1


def selection_report(weight: Tensor, negative: Tensor, labels: Tensor) -> dict[str, float]:
    """Summary of a method's weights: weight and negative (2B, 2B), labels (2B,); see the functions above."""
    return {
        "false_negatives_top": false_negative_rate(weight, negative, labels, TOP),
        "false_negatives_weighted": weighted_false_negative_rate(weight, negative, labels),
        "false_negatives_base": weighted_false_negative_rate(torch.ones_like(weight), negative, labels),
        "effective_negatives": effective_negatives(weight, negative),
    }
