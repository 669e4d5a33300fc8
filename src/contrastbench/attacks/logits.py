"""Attacks need logits: the cross-entropy of probabilities has almost no gradient, so that a model would look robust."""

from torch import Tensor

from contrastbench.errors import UserError


def refuse_probabilities(output: Tensor) -> None:
    """Raise UserError where every row of ``output`` (B, K) is a distribution over the K classes."""
    output = output.detach()
    if bool((output >= 0).all()) and bool(((output.sum(1) - 1).abs() < 1e-3).all()):
        raise UserError(
            "the classifier returns probabilities (rows of numbers from 0 to 1 that sum to 1); "
            "attacks need logits: remove its softmax"
        )
