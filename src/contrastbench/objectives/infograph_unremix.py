"""UnReMix's weights for InfoGraph: a node is the anchor, the other graphs of the batch are its negatives.

No publication has this; it is a choice made here (specification of graphs, section 4). Notation as in
``objectives/infograph.py``; g_j = f(v_j) is the output of the graphs' network, whose linear shortcut sees the pooled
features v_j.
"""

from typing import Unpack

import torch
from torch import Tensor
from torch.nn import functional

from contrastbench.models.heads import Projection
from contrastbench.objectives.infograph import LOG_2, node_graph_scores, of_others
from contrastbench.objectives.precision import in_float32
from contrastbench.objectives.unremix import (
    LARGEST_Z,
    ROUNDING,
    Distance,
    Normalization,
    PseudoLabel,
    Three,
    Uncertainty,
    Weighting,
)


@in_float32
def infograph_unremix_loss(nodes: Tensor, graphs: Projection, batch: Tensor, **weighting: Unpack[Weighting]) -> Tensor:
    """InfoGraph's loss with E_neg = mean_{i, j != b(i)} of sg[w_ij] (softplus(s_ij) - log 2). Returns a scalar.

    nodes (n, D); graphs: ``hidden`` (B, H) = v and ``output`` (B, D) = g; batch (n,). The weights, of mean 1 over an
    anchor's negatives, are those of :func:`weights_of_scores` from the scores of :func:`score_graphs`. Equal weights
    give InfoGraph's loss. UserError for fewer than 3 graphs, of which a node has no two negatives.
    """
    nodes, graphs = nodes.float(), Projection(*(part.float() for part in graphs))
    own, others = node_graph_scores(nodes, graphs.output, batch, least=3)
    with torch.set_grad_enabled(torch.is_grad_enabled() and not weighting["detach_weights"]):
        scores = score_graphs(
            nodes,
            graphs,
            batch,
            others,
            uncertainty=weighting["uncertainty"],
            pseudo_label=weighting["pseudo_label"],
            posterior_temperature=weighting["posterior_temperature"],
            distance=weighting["distance"],
        )
        weight = weights_of_scores(
            scores,
            weighting["weights"],
            standardized=weighting["standardized"],
            normalization=weighting["normalization"],
            sharpness=weighting["sharpness"],
        )
    return functional.softplus(-own).mean() - LOG_2 + (weight * (functional.softplus(others) - LOG_2)).mean()


def score_graphs(
    nodes: Tensor,
    graphs: Projection,
    batch: Tensor,
    others: Tensor,
    *,
    uncertainty: Uncertainty,
    pseudo_label: PseudoLabel,
    posterior_temperature: float | None,
    distance: Distance,
) -> tuple[Tensor, Tensor, Tensor]:
    """Uncertainty, anchor similarity and representativeness of each node's negatives, (n, B - 1) each.

    similarity          the score s_ij itself, ``others``
    representativeness  mean ``distance`` of g_j, normalised, to the other negatives of i
    uncertainty         ``norm``: of the gradient of graph j's pseudo-labelled loss with respect to the shortcut's
                        weights; ``gradsim``: its inner product with the gradient of the node's own graph;
                        ``infonce_z``: sigmoid(s_ij), the gradient of InfoGraph's loss with respect to the score
    """
    everyone = torch.arange(len(graphs.output), device=batch.device)
    apart = _mean_distance(functional.normalize(graphs.output, dim=1), distance)
    representativeness = of_others(apart, everyone)[batch]
    if uncertainty == "infonce_z":
        return others.sigmoid(), others, representativeness
    delta = gradient_factors(nodes, graphs.output, batch, posterior_temperature or 1.0, pseudo_label)
    if uncertainty == "norm":
        norm = delta.norm(dim=1) * (graphs.hidden.square().sum(dim=1) + 1).sqrt()
        uncertain = norm.expand(len(norm), -1)
    else:
        uncertain = (delta @ delta.T) * (graphs.hidden @ graphs.hidden.T + 1)
    return of_others(uncertain, everyone)[batch], others, representativeness


def gradient_factors(
    nodes: Tensor, graphs: Tensor, batch: Tensor, temperature: float, pseudo_label: PseudoLabel
) -> Tensor:
    """delta (B, D): the gradient of each graph's pseudo-labelled loss with respect to g_j.

    With m_k the mean of graph k's nodes, the posterior over the batch is p_j = softmax_k(g_j . sg[m_k] / temperature),
    a mean of InfoGraph's own scores; the loss is -log p_j(y_j) with y_j the most probable graph (``argmax``) or graph j
    (``alignment``). The gradient with respect to the shortcut's weights and bias is delta_j [v_j, 1]^T.
    """
    count = torch.bincount(batch, minlength=len(graphs)).clamp_min(1).unsqueeze(1)
    mean = torch.zeros_like(graphs).index_add(0, batch, nodes).detach() / count
    logits = graphs @ mean.T / temperature
    label = logits.argmax(dim=1) if pseudo_label == "argmax" else torch.arange(len(graphs), device=graphs.device)
    return (logits.softmax(dim=1) @ mean - mean[label]) / temperature


def _mean_distance(z: Tensor, distance: Distance) -> Tensor:
    """(B, B): mean distance of graph j (column) to all graphs but itself and graph b (row)."""
    cosine = z @ z.T
    # The floor keeps the root's gradient finite for duplicates where weights carry gradients.
    apart = 1 - cosine if distance == "cosine" else (2 - 2 * cosine).clamp_min(1e-12).sqrt()
    return (apart.sum(dim=0) - apart.diagonal() - apart) / (len(z) - 2)


def weights_of_scores(
    scores: tuple[Tensor, Tensor, Tensor],
    weights: Three,
    *,
    standardized: bool,
    normalization: Normalization,
    sharpness: Three,
) -> Tensor:
    """w (N, M): non-negative, with mean 1 over the M negatives of each anchor; scores (N, M) each.

    The formulas of :func:`contrastbench.objectives.unremix.negative_weights`, at temperature 1: InfoGraph has none.
    """
    parts = [part for part in zip(weights, sharpness, scores, strict=True) if part[0] > 0]
    if standardized:
        parts = [(share, b, _standardized(score)) for share, b, score in parts]
    if normalization == "softmix":
        mixed = torch.stack([share * (b * score).softmax(dim=1) for share, b, score in parts]).sum(dim=0)
    elif normalization == "exp":
        scaled = [share * b * (score if standardized else _scaled(score)) for share, b, score in parts]
        mixed = torch.stack(scaled).sum(dim=0).softmax(dim=1)
    else:
        mixed = torch.stack([share * _power(_scaled(score), b) for share, b, score in parts]).sum(dim=0)
        told_apart = torch.stack([score.amax(dim=1) > score.amin(dim=1) for _, _, score in parts]).any(dim=0)
        mixed = torch.where(told_apart.unsqueeze(1), mixed, 1)
    return mixed / mixed.mean(dim=1, keepdim=True)


def _scaled(score: Tensor) -> Tensor:
    """m (N, M): each row's scores between 0 and 1; 0 where they are all the same."""
    low, high = score.amin(dim=1, keepdim=True), score.amax(dim=1, keepdim=True)
    return torch.where(high > low, (score - low) / (high - low).clamp_min(1e-12), 0)


def _standardized(score: Tensor) -> Tensor:
    """z (N, M): minus the row's mean, over its standard deviation, clipped; 0 where they differ by rounding alone."""
    mean = score.mean(dim=1, keepdim=True)
    deviation = (score - mean).square().mean(dim=1, keepdim=True).clamp_min(1e-30).sqrt()
    differs = deviation > ROUNDING * (mean.abs() + deviation)
    return torch.where(differs, (score - mean) / deviation, 0).clamp(-LARGEST_Z, LARGEST_Z)


def _power(base: Tensor, exponent: float) -> Tensor:
    """base^exponent, with a finite gradient where the base is 0; 0^0 is 1."""
    positive = base > 0
    return torch.where(positive, torch.where(positive, base, 1).pow(exponent), float(exponent == 0))
