"""The majority vote of a clip's segments."""

from torch import Tensor
from torch.nn import functional


def vote(scores: Tensor, present: Tensor) -> Tensor:
    """Classes (...) by majority of segments: ``scores`` (..., S, classes), ``present`` (..., S) bool.

    Among tied classes, the one with the highest sum of softmax scores wins.
    """
    present = present.unsqueeze(-1)
    votes = functional.one_hot(scores.argmax(-1), scores.shape[-1]) * present
    sums = (scores.softmax(-1) * present).sum(-2)
    return (votes.sum(-2) + sums / (1 + sums.sum(-1, keepdim=True))).argmax(-1)
