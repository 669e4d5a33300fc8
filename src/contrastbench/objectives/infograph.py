"""Jensen-Shannon mutual information of nodes and graphs: InfoGraph (Sun et al., 2020), and HCL's hard negatives for it.

Notation: n nodes l_i of B graphs g_j, scores s_ij = l_i . g_j, which are not normalised; a node's positive is its own
graph b(i), its negatives are the B - 1 other graphs. softplus(x) = log(1 + e^x).
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from contrastbench.errors import UserError
from contrastbench.objectives.precision import in_float32

LOG_2 = math.log(2)


def node_graph_scores(nodes: Tensor, graphs: Tensor, batch: Tensor, least: int = 2) -> tuple[Tensor, Tensor]:
    """Scores of each node with its own graph (n,) and with the others (n, B - 1), in float32.

    nodes (n, D), graphs (B, D), batch (n,): which graph a node belongs to. UserError for fewer than ``least`` graphs.
    """
    if len(graphs) < least:
        raise UserError(f"this loss needs a batch of at least {least} graphs, not {len(graphs)}: negatives are missing")
    score = nodes.float() @ graphs.float().T
    return score.gather(1, batch.unsqueeze(1)).squeeze(1), of_others(score, batch)


def of_others(matrix: Tensor, own: Tensor) -> Tensor:
    """(N, B) without one column of each row, that of ``own`` (N,): (N, B - 1)."""
    column = torch.arange(matrix.shape[1] - 1, device=matrix.device).expand(len(matrix), -1)
    return matrix.gather(1, column + (column >= own.unsqueeze(1)))


@in_float32
def infograph_loss(nodes: Tensor, graphs: Tensor, batch: Tensor) -> Tensor:
    """E_neg - E_pos, a scalar: 0 where all scores are 0, at least -2 log 2.

    E_pos = mean_i of log 2 - softplus(-s_ib(i)), E_neg = mean_{i, j != b(i)} of softplus(s_ij) - log 2.
    Arguments as in :func:`node_graph_scores`. The authors' code multiplies scores by masks, which adds entries of
    softplus(0) - log 2 = 0: the value is the same.
    """
    own, others = node_graph_scores(nodes, graphs, batch)
    return functional.softplus(-own).mean() + functional.softplus(others).mean() - 2 * LOG_2


@in_float32
def infograph_hcl_loss(
    nodes: Tensor, graphs: Tensor, batch: Tensor, *, tau_plus: float, beta: float, sign: Literal["published", "hard"]
) -> Tensor:
    """HCL's ``JSD_hard`` (Robinson et al., 2021): E_neg - E_pos with negatives weighted, and debiased by ``tau_plus``.

    With r = tau_plus / (1 - tau_plus):
    E_pos = mean_i of log 2 - softplus(-s_ib(i)) - r softplus(s_ib(i))
    E_neg = sum_ij (w_ij softplus(s_ij) / (1 - tau_plus) - log 2) / (n (B - 1)), over all j, where s_ib(i) is set to 0
    w_ij  = e^{-2 beta s_ij / max |s|} / mean_j e^{-2 beta s_ij / max |s|}; the weights carry gradients
    So, as in the authors' code, a node's own graph is one more negative, of score 0, and has its share of the weights.
    Their minus sign makes weights fall with the score (``published``); ``hard`` has a plus.

    Returns a scalar. Its gradient is the authors'; their masks add constants to its value: r (B - 1) log 2, and for
    beta = 0 also -r B / (B - 1) log 2. Without them, tau_plus = beta = 0 is :func:`infograph_loss`.
    """
    own, others = node_graph_scores(nodes, graphs, batch)
    scores = functional.pad(others, (0, 1))
    slope = (-2 if sign == "published" else 2) * beta
    weight = scores.shape[1] * (slope * scores / scores.abs().max().clamp_min(1e-12)).softmax(dim=1)
    pushed = (weight * functional.softplus(scores) / (1 - tau_plus) - LOG_2).sum() / others.numel()
    pulled = LOG_2 - functional.softplus(-own) - tau_plus / (1 - tau_plus) * functional.softplus(own)
    return pushed - pulled.mean()
