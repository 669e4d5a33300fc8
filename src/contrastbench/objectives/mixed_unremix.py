"""Instance discrimination between mixtures and clean views, with negatives weighted as in UnReMix.

The suite's own combination of its systems (from no paper): uaMix-MAE's soft virtual labels say how much of each
sample a mixture contains, UnReMix's weights how much each of the other samples counts as a negative.
"""

from typing import Unpack

from torch import Tensor
from torch.nn import functional

from contrastbench.models.heads import Projection
from contrastbench.objectives.precision import in_float32
from contrastbench.objectives.unremix import Weighting, weighted


@in_float32
def mixed_unremix_loss(
    mixed: Projection,
    clean: Projection,
    labels: Tensor,
    *,
    temperature: float,
    symmetric: bool,
    **weighting: Unpack[Weighting],
) -> Tensor:
    """-(1/B) sum_i sum_n Y_in log(e^{s_in} / sum_n' w_in' e^{s_in'}), s = cosine / temperature. Returns a scalar.

    mixed, clean  projections of the mixtures and of the clean views, ``output`` (B, D), B at least 3
    labels        Y (B, B), as in :func:`contrastbench.objectives.nnclr.nnclr_loss`
    w is UnReMix's weight over the other side's samples (``negatives="other"``), and 1 wherever Y is positive: a
    mixture's partner is not a negative. ``symmetric`` adds the other direction with Y^T and halves the sum; if Y is
    the identity, the result equals ``unremix_loss``.
    """
    _, weight, scores = weighted(mixed, clean, temperature=temperature, negatives="other", **weighting)
    batch = len(labels)
    similarity = scores.similarity / temperature
    forward = _weighted_cross_entropy(similarity[:batch, batch:], weight[:batch, batch:], labels)
    if not symmetric:
        return forward
    return (forward + _weighted_cross_entropy(similarity[batch:, :batch], weight[batch:, :batch], labels.T)) / 2


def _weighted_cross_entropy(logits: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    weight = weight.masked_fill(labels > 0, 1.0)
    # The floor avoids 0 * inf for zero weights where the label is zero.
    return functional.cross_entropy(logits + weight.clamp_min(1e-30).log(), labels)
