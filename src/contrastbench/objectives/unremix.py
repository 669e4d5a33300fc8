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
    """The three scores of each pair, (2B, 2B): row = anchor, column = negative; meaningless where there is none."""

    uncertainty: Tensor
    similarity: Tensor
    representativeness: Tensor
    negatives: Negatives

    @property
    def negative(self) -> Tensor:
        """(2B, 2B) bool: which columns are a row's negatives."""
        return negative_mask(len(self.similarity) // 2, self.negatives, self.similarity.device)


def negative_mask(batch: int, negatives: Negatives, device: torch.device) -> Tensor:
    """(2B, 2B) bool: which samples are an anchor's negatives.

    ``both``: all samples but the anchor and its other view (2B - 2, as in HCL); ``other``: those of the other
    view only (B - 1, as in the paper's figure).
    """
    return fill_others(torch.ones(2 * batch, 2 * batch, dtype=torch.bool, device=device), False, negatives)


def negative_count(batch: int, negatives: Negatives) -> int:
    """How many negatives an anchor has."""
    return 2 * batch - 2 if negatives == "both" else batch - 1


def fill_others(matrix: Tensor, value: float | Tensor, negatives: Negatives) -> Tensor:
    """Set the entries of ``matrix`` (2B, 2B) that are no negatives, in place; return it.

    ``value`` is a number, or one per row (2B, 1). Diagonals and blocks take a small part of a masked fill's time.
    """
    batch = len(matrix) // 2
    rows = value if isinstance(value, Tensor) else matrix.new_full((2 * batch, 1), value)
    matrix.diagonal().copy_(rows[:, 0])
    matrix.diagonal(batch).copy_(rows[:batch, 0])
    matrix.diagonal(-batch).copy_(rows[batch:, 0])
    if negatives == "other":
        matrix[:batch, :batch] = rows[:batch]
        matrix[batch:, batch:] = rows[batch:]
    return matrix


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
        parts.append((logits.softmax(dim=1) @ other - other[label]) / temperature)
    gradient = torch.cat(parts)
    along = (z * gradient).sum(dim=1, keepdim=True)
    return (gradient - z * along) / projection_norm.unsqueeze(1)


def score_negatives(
    z: Tensor,
    cosine: Tensor,
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

    z (2B, D) normalised; cosine (2B, 2B) = z z^T; projection_norm (2B,) = ||o||; hidden (2B, H) = v, to which 1 is
    appended for the bias.
    """
    if uncertainty == "infonce_z":
        uncertain = fill_others(cosine / temperature, -math.inf, negatives).softmax(dim=1)
    else:
        delta = gradient_factors(z, projection_norm, temperature=temperature, pseudo_label=pseudo_label)
        if uncertainty == "norm":
            norm = delta.norm(dim=1) * (hidden.square().sum(dim=1) + 1).sqrt()
            uncertain = norm.unsqueeze(0).expand_as(cosine)
        else:
            uncertain = (delta @ delta.T) * (hidden @ hidden.T + 1)
    return Scores(uncertain, cosine, _mean_distance(cosine, distance, negatives), negatives)


def _mean_distance(cosine: Tensor, distance: Distance, negatives: Negatives) -> Tensor:
    """r_ij: mean distance of j to the other negatives of i, computed as column sums minus the samples left out."""
    batch = len(cosine) // 2
    if distance == "cosine":
        apart = 1 - cosine
    else:
        # The floor keeps the root's gradient finite for duplicates where weights carry gradients.
        apart = torch.sub(2, cosine, alpha=2).clamp_min(1e-12).sqrt()
    if negatives == "both":
        # The sum leaves out j itself: rounding makes its distance something else than 0.
        total, others = apart.sum(dim=1) - apart.diagonal(), 2 * batch - 3
        left_out = apart[:batch] + apart[batch:]  # both views of an anchor, the same for both
        return torch.sub(total / others, left_out, alpha=1 / others).repeat(2, 1)
    same_view = torch.cat(
        [side.sum(dim=1) - side.diagonal() for side in (apart[:batch, :batch], apart[batch:, batch:])]
    )
    return (same_view - apart.roll(batch, dims=0)) / (batch - 2)  # row i: distances to the other view of i


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
    negatives, columns = scores.negatives, (scores.uncertainty, scores.similarity, scores.representativeness)
    count = negative_count(len(scores.similarity) // 2, negatives)
    if normalization == "softmix":
        scaled = (columns[0], columns[1] / temperature, columns[2])
        parts = [
            share * fill_others(beta * column, -math.inf, negatives).softmax(dim=1)
            for share, column in zip(weights, scaled, strict=True)
            if share > 0
        ]
        return count * torch.stack(parts).sum(dim=0)
    shares = [(share, column) for share, column in zip(weights, columns, strict=True) if share > 0]
    bounds = [_bounds(column, negatives) for _, column in shares]
    # Scores that are the same for all negatives give all of them the same weight.
    constant = torch.stack([high == low for low, high in bounds]).all(dim=0)
    mixed = constant.to(columns[1].dtype)
    for (share, column), (low, high) in zip(shares, bounds, strict=True):
        scale = torch.where(high > low, share / (high - low).clamp_min(1e-12), 0)
        mixed = torch.addcmul(mixed, column - low, scale)
    if normalization == "exp":
        mixed = (beta * mixed).exp().clone()  # the exponential's gradient needs its result unchanged
    mixed = fill_others(mixed, 0, negatives)
    return mixed * (count / mixed.sum(dim=1, keepdim=True))


def _bounds(column: Tensor, negatives: Negatives) -> tuple[Tensor, Tensor]:
    """Least and greatest score (2B, 1) of each anchor's negatives.

    The other entries are set to the score of one negative, which changes neither.
    """
    batch = len(column) // 2
    sample = torch.arange(2 * batch, device=column.device)
    negative = (sample + 1) % batch + batch * (sample < batch)
    scores = fill_others(column.clone(), column.gather(1, negative.unsqueeze(1)), negatives)
    return scores.amin(dim=1, keepdim=True), scores.amax(dim=1, keepdim=True)


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
    z, weight, scores = weighted(
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
    similarity = fill_others(scores.similarity / temperature, -math.inf, negatives)
    greatest = similarity.detach().amax(dim=1, keepdim=True)
    negative_sum = (weight * (similarity - greatest).exp()).sum(dim=1)
    # The floor keeps the logarithm finite where the weights of all similar negatives are zero.
    log_negatives = negative_sum.clamp_min(1e-30).log() + greatest.squeeze(1)
    return loss_from_negatives(
        log_negatives,
        positives(z, temperature),
        negative_count(len(z) // 2, negatives),
        temperature=temperature,
        tau_plus=tau_plus,
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
    cosine = z @ z.T
    with torch.set_grad_enabled(torch.is_grad_enabled() and not detach_weights):
        scores = score_negatives(
            z,
            cosine,
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
