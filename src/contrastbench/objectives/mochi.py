"""MoCHi-style synthetic hard negatives (Kalantidis et al., 2020), on in-batch negatives instead of a queue."""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

from contrastbench.objectives.contrastive import normalized_pair, positives, without_positives
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
    similarity = z @ z.T / temperature
    constant = z.detach()
    anchors = len(z)
    with torch.no_grad():
        pool = without_positives(similarity.detach().clone())
        hard = pool.topk(min(hardest, anchors - 2), dim=1).indices  # (2B, n)

        def sampled(count: int) -> Tensor:
            pick = torch.randint(hard.shape[1], (anchors, count), generator=generator, device=z.device)
            return constant[hard.gather(1, pick)]  # (2B, count, D)

        def uniform(count: int) -> Tensor:
            return torch.rand(anchors, count, 1, generator=generator, device=z.device)

        a, b = uniform(mixed_negatives), 0.5 * uniform(mixed_with_query)
        pairs = a * sampled(mixed_negatives) + (1 - a) * sampled(mixed_negatives)
        with_query = b * constant.unsqueeze(1) + (1 - b) * sampled(mixed_with_query)
        synthetic = functional.normalize(torch.cat([pairs, with_query], dim=1), dim=2)
    added = torch.einsum("nd,nsd->ns", z, synthetic) / temperature
    similarity = similarity.fill_diagonal_(-math.inf)
    denominator = torch.cat([similarity, added], dim=1).logsumexp(dim=1)
    return (denominator - positives(z, temperature)).mean()
