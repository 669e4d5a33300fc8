"""MoCHi-style synthetic hard negatives (Kalantidis et al., 2020), on in-batch negatives instead of a queue."""

import math
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional

from contrastbench.objectives.contrastive import normalized_pair, without_positives
from contrastbench.objectives.precision import in_float32


@in_float32
def mochi_loss(
    z1: Tensor,
    z2: Tensor,
    *,
    temperature: float,
    hardest: int,
    mixed_negatives: int,
    mixed_with_query: int,
    generator: Generator,
) -> Tensor:
    """NT-Xent with synthetic negatives added to each anchor's real ones.

    Of each anchor's ``hardest`` most similar negatives, ``mixed_negatives`` pairs are blended,
    a n1 + (1 - a) n2 with a ~ U(0, 1), and ``mixed_with_query`` are blended with the anchor q,
    b q + (1 - b) n with b ~ U(0, 0.5), so that the anchor's share stays below one half. The blends are normalised
    and, like negatives from MoCHi's queue, carry no gradient. z1, z2: (B, D). Returns a scalar.
    """
    z = normalized_pair(z1, z2)
    cosine, to_constant = Cosines.apply(z)
    anchors = len(z)
    hard = without_positives(cosine.detach().clone()).topk(min(hardest, anchors - 2), dim=1).indices  # (2B, n)

    def sampled(count: int) -> Tensor:
        pick = torch.randint(hard.shape[1], (anchors, count), generator=generator, device=z.device)
        return hard.gather(1, pick)  # (2B, count)

    def uniform(count: int) -> Tensor:
        return torch.rand(anchors, count, generator=generator, device=z.device)

    a, b = uniform(mixed_negatives), 0.5 * uniform(mixed_with_query)
    counts = [mixed_negatives, mixed_negatives, mixed_with_query]
    n1, n2, n3 = (sampled(count) for count in counts)
    to_n1, to_n2, to_n3 = to_constant.gather(1, torch.cat([n1, n2, n3], dim=1)).split(counts, dim=1)
    pairs = _blend(a, to_n1, to_n2, cosine.detach()[n1, n2])
    with_query = _blend(b, 1, to_n3, to_n3.detach())  # moving along itself does not turn the anchor: no gradient
    logits = torch.cat([cosine.fill_diagonal_(-math.inf), pairs, with_query], dim=1) / temperature
    return functional.cross_entropy(logits, torch.arange(anchors, device=z.device).roll(len(z1)))


class Cosines(torch.autograd.Function):
    """z z^T for z (n, D), twice: differentiable in rows and columns, and in the rows alone."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> tuple[Tensor, Tensor]:
        """Both are (n, n)."""
        ctx.save_for_backward(z)
        cosine = z @ z.T
        return cosine, cosine.clone()

    @staticmethod
    def backward(ctx: Any, both: Tensor, rows: Tensor) -> Tensor:
        """One product serves the rows of both."""
        (z,) = ctx.saved_tensors
        return (both + rows) @ z + both.T @ z


def _blend(share: Tensor, first: Tensor | float, second: Tensor, between: Tensor) -> Tensor:
    """q . n / ||n|| with n = share n1 + (1 - share) n2, where first = q . n1, second = q . n2, between = n1 . n2.

    n1 and n2 are unit vectors: ||n||^2 = share^2 + (1 - share)^2 + 2 share (1 - share) between.
    """
    rest = 1 - share
    norm = (share.square() + rest.square() + 2 * share * rest * between).clamp_min(1e-12).sqrt()
    return (share * first + rest * second) / norm
