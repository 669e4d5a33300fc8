"""UnReMix: negatives weighted by model uncertainty, anchor similarity and representativeness.

The definitions are those of the specification of UnReMix, section 1.4; the paper's code is not public. Notation:
z = [z1; z2] are the 2B L2-normalised embeddings, o = W v + b is the projector's output before normalisation, v its
last layer's input; N(i) are an anchor's negatives. Everything is in closed form over 2B x 2B matrices: no
per-sample backward pass, no extra pass through the encoder.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from contrastbench.models.heads import Projection
from contrastbench.objectives.contrastive import loss_from_negatives, normalized_pair, positives
from contrastbench.objectives.precision import in_float32

Uncertainty = Literal["norm", "gradsim", "infonce_z"]
PseudoLabel = Literal["argmax", "alignment"]
Normalization = Literal["minmax", "softmix", "exp"]
Distance = Literal["euclidean", "cosine"]
Negatives = Literal["both", "other"]


@dataclass(frozen=True)
class Scores:
    """The three scores of each pair, (2B, 2B): row = anchor, column = negative; and which columns are negatives."""

    uncertainty: Tensor
    similarity: Tensor
    representativeness: Tensor
    negative: Tensor  # bool


def negative_mask(batch: int, negatives: Negatives, device: torch.device) -> Tensor:
    """(2B, 2B) bool: which samples are an anchor's negatives.

    ``both``: all samples but the anchor and its other view (2B - 2, as in HCL); ``other``: those of the other
    view only (B - 1, as in the paper's figure).
    """
    sample = torch.arange(2 * batch, device=device)
    mask = sample.unsqueeze(1).remainder(batch) != sample.remainder(batch)
    if negatives == "other":
        mask &= (sample.unsqueeze(1) < batch) != (sample < batch)
    return mask


def gradient_factors(z: Tensor, projection_norm: Tensor, *, temperature: float, pseudo_label: PseudoLabel) -> Tensor:
    """delta (2B, D): the gradient of each sample's pseudo-labelled loss with respect to its projector output o.

    The sample's posterior over the batch is p_j = softmax_k(z_j . sg[z_k of the other view] / temperature), its
    loss -log p_j(y_j) with y_j the most probable class (``argmax``) or its own position (``alignment``). The
    gradient with respect to the last layer's weights is delta_j v_j^T, hence has norm ||delta_j|| ||v_j||.
    """
    first, second = z.chunk(2)
    parts = []
    for own, other in ((first, second.detach()), (second, first.detach())):
        logits = own @ other.T / temperature
        label = logits.argmax(dim=1) if pseudo_label == "argmax" else torch.arange(len(own), device=z.device)
        residual = logits.softmax(dim=1) - functional.one_hot(label, len(own)).to(z.dtype)
        parts.append(residual @ other / temperature)
    gradient = torch.cat(parts)
    along = (z * gradient).sum(dim=1, keepdim=True)
    return (gradient - z * along) / projection_norm.unsqueeze(1)


def score_negatives(
    z: Tensor,
    projection_norm: Tensor,
    hidden: Tensor,
    *,
    temperature: float,
    uncertainty: Uncertainty,
    pseudo_label: PseudoLabel,
    distance: Distance,
    negatives: Negatives,
) -> Scores:
    """The three scores of every (anchor, negative).

    z (2B, D) normalised; projection_norm (2B,) = ||o||; hidden (2B, H) = v, to which 1 is appended for the bias.
    """
    cosine = z @ z.T
    mask = negative_mask(len(z) // 2, negatives, z.device)
    if uncertainty == "infonce_z":
        uncertain = (cosine / temperature).masked_fill(~mask, -math.inf).softmax(dim=1)
    else:
        delta = gradient_factors(z, projection_norm, temperature=temperature, pseudo_label=pseudo_label)
        if uncertainty == "norm":
            norm = delta.norm(dim=1) * (hidden.square().sum(dim=1) + 1).sqrt()
            uncertain = norm.unsqueeze(0).expand_as(cosine)
        else:
            uncertain = (delta @ delta.T) * (hidden @ hidden.T + 1)
    return Scores(uncertain, cosine, _mean_distance(cosine, distance, negatives), mask)


def _mean_distance(cosine: Tensor, distance: Distance, negatives: Negatives) -> Tensor:
    """r_ij: mean distance of j to the other negatives of i, computed as column sums minus the samples left out."""
    batch = len(cosine) // 2
    if distance == "cosine":
        apart = 1 - cosine
    else:
        # The floor keeps the root's gradient finite for duplicates where weights carry gradients.
        apart = (2 - 2 * cosine).clamp_min(1e-12).sqrt()
    # The sum includes j itself, whose distance is exactly 0; rounding would make it something else.
    apart = apart.masked_fill(torch.eye(len(apart), dtype=torch.bool, device=apart.device), 0)
    partner = apart.roll(batch, dims=0)  # row i: distances of every j to the other view of i
    if negatives == "both":
        return (apart.sum(dim=0, keepdim=True) - apart - partner) / (2 * batch - 3)
    same_view = torch.cat([apart[:batch, :batch].sum(dim=0), apart[batch:, batch:].sum(dim=0)])
    return (same_view.unsqueeze(0) - partner) / (batch - 2)


def negative_weights(
    scores: Scores,
    weights: tuple[float, float, float],
    *,
    normalization: Normalization,
    beta: float,
    temperature: float,
) -> Tensor:
    """w_ij (2B, 2B): non-negative, with mean 1 over each anchor's negatives, and 0 elsewhere.

    weights  lambda_1 (uncertainty), lambda_2 (anchor similarity), lambda_3 (representativeness), sum 1
    ``minmax``: h = sum lambda * minmax(score), w = h / mean h. ``exp``: w = e^{beta h} / mean e^{beta h}.
    ``softmix``: w = sum lambda * |N| softmax_j(beta * score), similarity divided by the temperature, so that
    (0, 1, 0) is HCL's weighting.
    """
    mask = scores.negative
    columns = (scores.uncertainty, scores.similarity, scores.representativeness)
    count = mask.sum(dim=1, keepdim=True)
    if normalization == "softmix":
        scaled = (columns[0], columns[1] / temperature, columns[2])
        parts = [
            share * (beta * column).masked_fill(~mask, -math.inf).softmax(dim=1)
            for share, column in zip(weights, scaled, strict=True)
            if share > 0
        ]
        return count * torch.stack(parts).sum(dim=0)
    mixed = torch.stack(
        [share * _minmax(column, mask) for share, column in zip(weights, columns, strict=True) if share > 0]
    ).sum(dim=0)
    if normalization == "exp":
        mixed = (beta * mixed).exp() * mask
    total = mixed.sum(dim=1, keepdim=True)
    # Scores that are the same for all negatives give all of them the same weight.
    uniform = mask.to(mixed.dtype)
    return torch.where(total > 0, count * mixed / total.clamp_min(1e-30), uniform)


def _minmax(column: Tensor, mask: Tensor) -> Tensor:
    low = column.masked_fill(~mask, math.inf).amin(dim=1, keepdim=True)
    high = column.masked_fill(~mask, -math.inf).amax(dim=1, keepdim=True)
    return (column - low).div((high - low).clamp_min(1e-12)) * mask


@in_float32
def unremix_loss(
    first: Projection,
    second: Projection,
    *,
    temperature: float,
    weights: tuple[float, float, float],
    uncertainty: Uncertainty,
    pseudo_label: PseudoLabel,
    normalization: Normalization,
    beta: float,
    distance: Distance,
    negatives: Negatives,
    detach_weights: bool,
    tau_plus: float,
) -> Tensor:
    """-log(e^{s+} / (e^{s+} + sum_j sg[w_ij] e^{s_ij})), mean over all 2B anchors. Returns a scalar.

    first, second: projections of the two views, ``hidden`` (B, H) and ``output`` (B, D).
    """
    z, weight, _ = weighted(
        first,
        second,
        temperature=temperature,
        weights=weights,
        uncertainty=uncertainty,
        pseudo_label=pseudo_label,
        normalization=normalization,
        beta=beta,
        distance=distance,
        negatives=negatives,
        detach_weights=detach_weights,
    )
    similarity = z @ z.T / temperature
    # The floor keeps the logarithm's gradient finite for zero weights that carry gradients.
    log_negatives = (similarity + weight.clamp_min(1e-30).log()).logsumexp(dim=1)
    count = 2 * len(first.output) - 2 if negatives == "both" else len(first.output) - 1
    return loss_from_negatives(
        log_negatives, positives(z, temperature), count, temperature=temperature, tau_plus=tau_plus
    )


def weighted(
    first: Projection,
    second: Projection,
    *,
    temperature: float,
    weights: tuple[float, float, float],
    uncertainty: Uncertainty,
    pseudo_label: PseudoLabel,
    normalization: Normalization,
    beta: float,
    distance: Distance,
    negatives: Negatives,
    detach_weights: bool,
) -> tuple[Tensor, Tensor, Scores]:
    """Normalised embeddings z (2B, D), the weights (2B, 2B) of their negatives, and the scores they are made of."""
    z = normalized_pair(first.output, second.output, least=2 if negatives == "both" else 3)
    output = torch.cat([first.output, second.output]).float()
    hidden = torch.cat([first.hidden, second.hidden]).float()
    with torch.set_grad_enabled(torch.is_grad_enabled() and not detach_weights):
        scores = score_negatives(
            z,
            output.norm(dim=1).clamp_min(1e-12),
            hidden,
            temperature=temperature,
            uncertainty=uncertainty,
            pseudo_label=pseudo_label,
            distance=distance,
            negatives=negatives,
        )
        weight = negative_weights(scores, weights, normalization=normalization, beta=beta, temperature=temperature)
    return z, weight, scores
