"""GraphCL's loss (You et al., 2020), as its public code has it: from a graph to the augmented graphs only."""

import math

from torch import Tensor

from contrastbench.objectives.contrastive import normalized_pair
from contrastbench.objectives.precision import in_float32


@in_float32
def graphcl_loss(z1: Tensor, z2: Tensor, *, temperature: float) -> Tensor:
    """Mean over B graphs of -log(e^{s_ii} / sum_{j != i} e^{s_ij}), with s_ij = z1_i . z2_j / temperature.

    z1 (B, D): embeddings of the graphs, z2 (B, D): of their augmented versions; both are normalised here. Negatives
    are the B - 1 other augmented graphs; the positive is not in the denominator. Returns a scalar, which has no lower
    bound of 0. UserError for a batch of one.
    """
    first, second = normalized_pair(z1, z2).chunk(2)
    positive = (first * second).sum(dim=1) / temperature
    similarity = (first / temperature) @ second.T
    return (similarity.fill_diagonal_(-math.inf).logsumexp(dim=1) - positive).mean()
