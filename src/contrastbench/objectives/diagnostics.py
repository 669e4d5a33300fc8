"""What a loss makes of its negatives: how far its gradient is from NT-Xent's, and which negatives weigh most.

For the log and for rows only; labels are used to look, never to train.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from contrastbench.models.heads import Projection
from contrastbench.objectives.contrastive import nt_xent

# NT-Xent's temperatures among which the one with the most similar gradient is sought, besides the method's own.
TEMPERATURES = tuple(step / 20 for step in range(2, 21))  # 0.1, 0.15 ... 1


def beside_nt_xent(
    loss: Callable[[Projection, Projection], Tensor], first: Projection, second: Projection, temperature: float
) -> dict[str, float]:
    """How a loss's gradient with respect to the projector's outputs, (2B D,), compares with NT-Xent's.

    ``gradient_cosine``, ``gradient_norm_ratio``  to NT-Xent at the method's own ``temperature``
    ``gradient_cosine_best``, ``best_temperature``  the largest cosine over ``TEMPERATURES`` and its own, and where

    A cosine of 1 means that both move every embedding alike. The ratio is that of the lengths, loss over NT-Xent: an
    optimiser that scales gradients (Adam, LARS) does not see it. first, second: ``output`` (B, D).
    """
    outputs = [side.output.detach().float().requires_grad_() for side in (first, second)]
    hidden = [side.hidden.detach() for side in (first, second)]

    def gradient(value: Tensor) -> Tensor:
        return torch.cat(torch.autograd.grad(value, outputs)).flatten()

    with torch.enable_grad():
        own = gradient(loss(*(Projection(h, o) for h, o in zip(hidden, outputs, strict=True))))
        candidates = (temperature, *TEMPERATURES)
        baselines = torch.stack([gradient(nt_xent(*outputs, temperature=each)) for each in candidates])
    cosines = torch.nn.functional.cosine_similarity(own.unsqueeze(0), baselines, dim=1)
    best = int(cosines.argmax())
    return {
        "gradient_cosine": float(cosines[0]),
        "gradient_norm_ratio": float(own.norm() / baselines[0].norm().clamp_min(1e-30)),
        "gradient_cosine_best": float(cosines[best]),
        "best_temperature": candidates[best],
    }


def false_negative_rate(weight: Tensor, labels: Tensor, top: float) -> float:
    """Share of same-class samples among each anchor's most heavily weighted ``top`` share of negatives.

    weight (2B, 2B), -inf where there is no negative, as many in each row; labels (2B,). With ``top`` = 1 this is the
    base rate.
    """
    same = labels.unsqueeze(1) == labels.unsqueeze(0)
    negatives = int(weight[0].isfinite().sum())
    heaviest = weight.topk(max(1, round(top * negatives)), dim=1).indices
    return float(same.gather(1, heaviest).float().mean())


def effective_negatives(weight: Tensor) -> float:
    """exp(entropy of the weights) / N: 1 for equal weights, 1/N when one of N negatives takes all.

    weight (2B, 2B), never negative, -inf where there is no negative.
    """
    negative = weight.isfinite()
    share = torch.where(negative, weight, 0)
    share = share / share.sum(dim=1, keepdim=True)
    entropy = -(share * share.clamp_min(1e-30).log()).sum(dim=1)
    return float((entropy.exp() / negative.sum(dim=1)).mean())
