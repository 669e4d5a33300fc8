"""Contrastive losses on two views in one batch: NT-Xent, DCL and HCL, computed in float32 and log space.

Notation (specification of UnReMix, 1.5): z = [z1; z2] are 2B L2-normalised embeddings, s_ij = z_i . z_j /
temperature, s_i+ the similarity to the anchor's other view, N = 2B - 2 negatives. Every loss is the mean over
all 2B anchors of -log(e^{s+} / (e^{s+} + G)) = softplus(log G - s+), each with its own negative term G.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from contrastbench.errors import UserError
from contrastbench.objectives.precision import in_float32


def normalized_pair(z1: Tensor, z2: Tensor, least: int = 2) -> Tensor:
    """Stack two views (B, D) into one L2-normalised float32 tensor (2B, D); UserError for a batch below ``least``."""
    if z1.shape != z2.shape or z1.ndim != 2:
        raise UserError(f"two views need embeddings of the same shape (B, D), not {tuple(z1.shape)}, {tuple(z2.shape)}")
    if len(z1) < least:
        raise UserError(f"a contrastive loss needs a batch of at least {least}, not {len(z1)}: there are no negatives")
    return functional.normalize(torch.cat([z1, z2]).float(), dim=1)


def positives(z: Tensor, temperature: float) -> Tensor:
    """s_i+ (2B,): similarity of each anchor to its other view, divided by the temperature."""
    first, second = z.chunk(2)
    similarity = (first * second).sum(dim=1) / temperature
    return torch.cat([similarity, similarity])


def without_positives(similarity: Tensor) -> Tensor:
    """Set each anchor's own entry and its positive's in (2B, 2B) to -inf, in place; return the matrix."""
    half = len(similarity) // 2
    similarity.fill_diagonal_(-math.inf)
    similarity.diagonal(half).fill_(-math.inf)
    similarity.diagonal(-half).fill_(-math.inf)
    return similarity


def loss_from_negatives(
    log_negatives: Tensor, positive: Tensor, count: int, *, temperature: float, tau_plus: float
) -> Tensor:
    """Mean of softplus(log G - s+), with G debiased by ``tau_plus`` (DCL, Chuang et al., 2020).

    log_negatives  (2B,) log of sum_j w_ij e^{s_ij}
    count          number of negatives N
    G = max((sum_j w_ij e^{s_ij} - tau_plus N e^{s+}) / (1 - tau_plus), N e^{-1/temperature}); the lower bound
    is the smallest value that the sum can take. Computed in log space, so that nothing overflows.
    """
    if tau_plus > 0:
        share = tau_plus * count * torch.exp(positive - log_negatives)
        kept = 1 - share
        # Log of a clamped argument: its gradient is zero where the bound applies, as with the published clamp.
        log_kept = torch.log(kept.clamp_min(1e-30)) - math.log1p(-tau_plus)
        bound = math.log(count) - 1 / temperature
        log_negatives = torch.where(kept > 0, log_negatives + log_kept, torch.full_like(log_negatives, bound))
        log_negatives = log_negatives.clamp_min(bound)
    return functional.softplus(log_negatives - positive).mean()


@in_float32
def nt_xent(z1: Tensor, z2: Tensor, *, temperature: float) -> Tensor:
    """NT-Xent of SimCLR (Chen et al., 2020, equation 1): G = sum of e^{s_ij} over all negatives.

    z1, z2: (B, D) embeddings of two views, normalised here. Returns a scalar: the cross-entropy of identifying
    an anchor's other view among all other samples.
    """
    z = normalized_pair(z1, z2)
    similarity = (z / temperature) @ z.T
    similarity.fill_diagonal_(-math.inf)
    other_view = torch.arange(len(z), device=z.device).roll(len(z1))
    return functional.cross_entropy(similarity, other_view)


def dcl(z1: Tensor, z2: Tensor, *, temperature: float, tau_plus: float) -> Tensor:
    """Debiased contrastive loss (Chuang et al., 2020): NT-Xent with G corrected for false negatives."""
    return hcl(z1, z2, temperature=temperature, tau_plus=tau_plus, beta=0.0)


@in_float32
def hcl(z1: Tensor, z2: Tensor, *, temperature: float, tau_plus: float, beta: float) -> Tensor:
    """Hard-negative contrastive loss (Robinson et al., 2021).

    Negatives are weighted by e^{beta s_ij} / mean_j e^{beta s_ij}; as in the authors' code, s_ij includes the
    temperature and the weights carry gradients. G = N sum_j e^{(1 + beta) s_ij} / sum_j e^{beta s_ij} before debiasing.
    """
    z = normalized_pair(z1, z2)
    similarity = without_positives((z / temperature) @ z.T)
    count = len(z) - 2
    log_negatives = similarity.logsumexp(dim=1) if beta == 0 else _tilted(similarity, beta, count)
    return loss_from_negatives(
        log_negatives, positives(z, temperature), count, temperature=temperature, tau_plus=tau_plus
    )


def _tilted(similarity: Tensor, beta: float, count: int) -> Tensor:
    """log G (2B,): two log-sum-exps that share one shift, so that every exponential is computed once."""
    greatest = similarity.detach().amax(dim=1, keepdim=True)
    shifted = similarity - greatest  # at most 0, and 0 somewhere: both sums lie between 1 and N
    exponential = shifted.exp()
    importance = exponential if beta == 1 else (beta * shifted).exp()
    ratio = (importance * exponential).sum(dim=1) / importance.sum(dim=1)
    return ratio.log() + greatest[:, 0] + math.log(count)
