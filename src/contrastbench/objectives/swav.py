"""SwAV (Caron et al., 2020, arXiv 2006.09882): Sinkhorn codes and the swapped-prediction loss.

As in facebookresearch/swav (specification of SwARo, 1.2), but always in float32, even in mixed-precision training.
Notation: scores s = C z (B, K) are cosines between B embeddings and K prototypes; codes q (B, K) are targets.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from contrastbench.augment.host import is_queued

Codes = Literal["soft", "argmax"]

# exp(-60) is far above float32's smallest number; with a wider range, products of scaling factors might underflow.
WIDEST_EXPONENT = 60.0


@torch.no_grad()
def sinkhorn_codes(scores: Tensor, *, epsilon: float, iterations: int, kind: Codes = "soft") -> Tensor:
    """Codes (B, K) of ``scores`` (B, K): every row sums to 1, every prototype gets about B / K of the mass.

    Q = exp(S / epsilon), then ``iterations`` (at least 1) times: scale every prototype's mass to 1 / K, then every
    sample's to 1 / B; finally multiply by B. ``argmax`` gives one-hot codes. Q = diag(v) M diag(u) is never rescaled
    itself, only the vectors u and v are. Where exp(S / epsilon) exceeds float32's range, logarithms are used instead.
    """
    with torch.autocast(scores.device.type, enabled=False):
        exponent = scores.float() / epsilon
        low, high = exponent.aminmax()
        # Cosines span at most 2. To look what they do span would make the host wait for an accelerator.
        width = 2 / epsilon if is_queued(scores.device) else float(high - low)
        scale = _scaled if width <= WIDEST_EXPONENT else _scaled_in_log_space
        codes = scale(exponent - high, iterations)
        return as_kind(codes, kind)


def _scaled(exponent: Tensor, iterations: int) -> Tensor:
    kernel = exponent.exp_()  # (B, K), largest entry 1
    samples, prototypes = kernel.shape
    v = kernel.new_ones(samples)
    u = kernel.new_ones(prototypes)
    for _ in range(iterations):
        u = 1 / (prototypes * (kernel.T @ v))
        v = 1 / (samples * (kernel @ u))
    return kernel.mul_(u).mul_((samples * v).unsqueeze(1))


def _scaled_in_log_space(exponent: Tensor, iterations: int) -> Tensor:
    for _ in range(iterations):
        exponent = exponent - exponent.logsumexp(dim=0, keepdim=True)
        exponent = exponent - exponent.logsumexp(dim=1, keepdim=True)
    return exponent.exp()


def as_kind(codes: Tensor, kind: Codes) -> Tensor:
    """``codes`` (B, K) unchanged, or rounded to one-hot rows."""
    if kind == "soft":
        return codes
    return torch.zeros_like(codes).scatter_(1, codes.argmax(dim=1, keepdim=True), 1.0)


def assignment_loss(scores: Tensor, codes: Tensor, *, temperature: float) -> Tensor:
    """l(x ; q) = - sum_k q_k log softmax_k(s / temperature), one value (B,) per sample; scores, codes (B, K)."""
    with torch.autocast(scores.device.type, enabled=False):
        return -(codes * torch.log_softmax(scores.float() / temperature, dim=1)).sum(dim=1)


def swapped_prediction_loss(scores: Sequence[Tensor], codes: Sequence[Tensor | None], *, temperature: float) -> Tensor:
    """Every view predicts the codes of every other view; scalar.

    scores  one (B, K) per view
    codes   one (B, K) per view, None for a view without codes
    For each assigning view the loss is averaged over all other views, then over the assigning views; with two views
    this is (l(x_1 ; q_2) + l(x_2 ; q_1)) / 2.
    """
    means = []
    for assigning, target in enumerate(codes):
        if target is not None:
            others = [view for number, view in enumerate(scores) if number != assigning]
            losses = [assignment_loss(view, target, temperature=temperature).mean() for view in others]
            means.append(torch.stack(losses).mean())
    return torch.stack(means).mean()
