"""Mixtures of spectrograms and their virtual labels: T-CutMix, 2-D CutMix and input mixup.

Specification of uaMix-MAE, 1.4 steps 1-4, with the choices of section 5: one lambda ~ Beta(alpha, alpha) per batch,
the partner of sample i is sample B + 1 - i, the centre of the cut is uniform, the cut is clipped at the edges, and
lambda is set to the share that was kept.
"""

import math
from typing import Literal, NamedTuple

import torch
from scipy.special import betaincinv
from torch import Generator, Tensor

from contrastbench.augment.host import on_host

Mixing = Literal["t-cutmix", "cutmix", "mixup", "none"]


class Mixture(NamedTuple):
    """A mixed batch.

    x        (B, 1, T, F)
    kept     lambda: the share of each mixture that comes from the sample itself
    partner  (B,) int64, the other sample's position in the batch; a permutation
    labels   Y (B, B): row i holds each clean sample's share in mixture i; rows and columns sum to 1
    """

    x: Tensor
    kept: float
    partner: Tensor
    labels: Tensor


def mix(x: Tensor, mixing: Mixing, alpha: float, generator: Generator) -> Mixture:
    """Mix (B, 1, T, F) with itself in reversed order; ``none`` leaves it unchanged, with lambda 1."""
    partner = torch.arange(len(x) - 1, -1, -1, device=x.device)
    if mixing == "none":
        return Mixture(x, 1.0, partner, virtual_labels(1.0, partner))
    host = on_host(generator)
    share = sample_share(alpha, host)
    if mixing == "mixup":
        mixed = share * x + (1 - share) * x[partner]
        return Mixture(mixed, share, partner, virtual_labels(share, partner))
    if mixing == "t-cutmix":
        rows = sample_cut(x.shape[2], 1 - share, host)  # 1-D: the cut's length is proportional to its share
        columns = (0, x.shape[3])
    else:
        side = math.sqrt(1 - share)
        rows, columns = (sample_cut(size, side, host) for size in x.shape[2:])
    mixed = x.clone()
    mixed[:, :, slice(*rows), slice(*columns)] = x[partner][:, :, slice(*rows), slice(*columns)]
    replaced = (rows[1] - rows[0]) * (columns[1] - columns[0])
    kept = 1 - replaced / (x.shape[2] * x.shape[3])
    return Mixture(mixed, kept, partner, virtual_labels(kept, partner))


def sample_share(alpha: float, generator: Generator) -> float:
    """lambda ~ Beta(alpha, alpha), by the inverse of its distribution function, so that only ``generator`` is used."""
    return float(betaincinv(alpha, alpha, float(torch.rand((), generator=generator))))


def sample_cut(size: int, share: float, generator: Generator) -> tuple[int, int]:
    """Start and stop of a run of round(share * size) positions around a uniform centre, clipped to [0, size]."""
    length = round(share * size)
    centre = int(torch.randint(size, (1,), generator=generator))
    start = centre - length // 2
    return max(start, 0), min(start + length, size)


def virtual_labels(kept: float, partner: Tensor) -> Tensor:
    """Y (B, B): lambda at (i, i), 1 - lambda at (i, partner of i); 1 where a sample is its own partner."""
    own = torch.eye(len(partner), device=partner.device)
    return kept * own + (1 - kept) * own[partner]
