"""TRADES (Zhang et al. 2019, arXiv 1901.08573)."""

import torch.nn.functional as F
from torch import Tensor


def kl_divergence(clean: Tensor, other: Tensor) -> Tensor:
    """KL(softmax(clean) || softmax(other)), one value (B,) per row of logits (B, classes), in float32."""
    return F.kl_div(
        other.float().log_softmax(dim=1), clean.float().log_softmax(dim=1), log_target=True, reduction="none"
    ).sum(dim=1)


def trades_loss(clean: Tensor, adversarial: Tensor, labels: Tensor, *, beta: float) -> Tensor:
    """Equation 5: CE(f(x), y) + beta KL(f(x) || f(x')), the mean over the batch; logits (B, classes), labels (B,)."""
    return F.cross_entropy(clean, labels) + beta * kl_divergence(clean, adversarial).mean()
