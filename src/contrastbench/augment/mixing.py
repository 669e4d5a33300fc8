"""Mixtures of spectrograms and their virtual labels: T-CutMix, 2-D CutMix and input mixup.

Specification of uaMix-MAE, 1.4 steps 1-4, with the choices of section 5: one lambda ~ Beta(alpha, alpha) per batch,
the partner of sample i is sample B + 1 - i, the centre of the cut is uniform, the cut is clipped at the edges, and
lambda is set to the share that was kept. It counts frames that the clips have, and so is each mixture's own: clips that
are shorter than the spectrogram are padded, and a cut through padding replaces nothing.
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
    kept     lambda (B,): the share of each mixture's real frames that come from the sample itself
    partner  (B,) int64, the other sample's position in the batch; a permutation
    labels   Y (B, B): row i holds each clean sample's share in mixture i; rows sum to 1, and so do columns where all
             samples have as many real frames
    """

    x: Tensor
    kept: Tensor
    partner: Tensor
    labels: Tensor


def mix(x: Tensor, mixing: Mixing, alpha: float, generator: Generator) -> Mixture:
    """Mix (B, 1, T, F) with itself in reversed order; ``none`` leaves it unchanged, with lambda 1."""
    partner = torch.arange(len(x) - 1, -1, -1, device=x.device)
    if mixing == "none":
        return _labelled(x, torch.ones(len(x), device=x.device), partner)
    host = on_host(generator)
    share = sample_share(alpha, host)
    if mixing == "mixup":
        mixed = share * x + (1 - share) * x[partner]
        return _labelled(mixed, torch.full((len(x),), share, device=x.device), partner)
    if mixing == "t-cutmix":
        rows = sample_cut(x.shape[2], 1 - share, host)  # 1-D: the cut's length is proportional to its share
        columns = (0, x.shape[3])
    else:
        side = math.sqrt(1 - share)
        rows, columns = (sample_cut(size, side, host) for size in x.shape[2:])
    mixed = x.clone()
    mixed[:, :, slice(*rows), slice(*columns)] = x[partner][:, :, slice(*rows), slice(*columns)]
    real = real_frames(x)
    cut_out = real[:, slice(*rows)].sum(dim=1) * (columns[1] - columns[0])
    own = real.sum(dim=1) * x.shape[3] - cut_out
    total = own + cut_out[partner]
    return _labelled(mixed, torch.where(total > 0, own / total, 1.0), partner)


def real_frames(x: Tensor) -> Tensor:
    """Which frames of (B, 1, T, F) are no padding, (B, T) bool.

    In padding all mel bins are alike: log energy 0 before normalisation, which is above the lowest value of any clip.
    They are alike in digital silence too, but there they hold the lowest value there is.
    """
    first = x[:, 0, :, 0]
    alike = (x[:, 0] == first.unsqueeze(2)).all(dim=2)
    return ~alike | (first == x.amin(dim=(1, 2, 3)).unsqueeze(1))


def sample_share(alpha: float, generator: Generator) -> float:
    """lambda ~ Beta(alpha, alpha), by the inverse of its distribution function, so that only ``generator`` is used."""
    return float(betaincinv(alpha, alpha, float(torch.rand((), generator=generator))))


def sample_cut(size: int, share: float, generator: Generator) -> tuple[int, int]:
    """Start and stop of a run of round(share * size) positions around a uniform centre, clipped to [0, size]."""
    length = round(share * size)
    centre = int(torch.randint(size, (1,), generator=generator))
    start = centre - length // 2
    return max(start, 0), min(start + length, size)


def _labelled(mixed: Tensor, kept: Tensor, partner: Tensor) -> Mixture:
    return Mixture(mixed, kept, partner, virtual_labels(kept, partner))


def virtual_labels(kept: Tensor, partner: Tensor) -> Tensor:
    """Y (B, B): lambda_i at (i, i), 1 - lambda_i at (i, partner of i); 1 where a sample is its own partner."""
    own = torch.eye(len(partner), device=partner.device)
    return kept.unsqueeze(1) * own + (1 - kept).unsqueeze(1) * own[partner]
