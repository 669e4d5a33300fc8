"""UnReMix: negatives weighted by model uncertainty, anchor similarity and representativeness.

The definitions are those of the specification of UnReMix, section 1.4; the paper's code is not public. Notation:
z = [z1; z2] are the 2B L2-normalised embeddings, o = W v + b is the projector's output before normalisation, v its
last layer's input; N(i) are an anchor's negatives. Everything is in closed form over 2B x 2B matrices: no
per-sample backward pass, no extra pass through the encoder.
"""

import math
from dataclasses import dataclass
from typing import Literal, TypedDict, Unpack

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
Three = tuple[float, float, float]  # one number per score: uncertainty, anchor similarity, representativeness
LARGEST_Z = 4.0  # standardised scores are clipped at so many standard deviations
ROUNDING = 1e-6  # a standard deviation below this share of the mean is float32's rounding


class Weighting(TypedDict):
    """How negatives are weighted; :func:`score_negatives` and :func:`negative_weights` say what each does."""

    weights: Three
    uncertainty: Uncertainty
    pseudo_label: PseudoLabel
    posterior_temperature: float | None
    standardized: bool
    normalization: Normalization
    sharpness: Three
    distance: Distance
    detach_weights: bool


@dataclass(frozen=True)
class Scores:
    """The three scores of each pair, (2B, 2B): row = anchor, column = negative; meaningless where there is none."""

    uncertainty: Tensor
    similarity: Tensor
    representativeness: Tensor
    negatives: Negatives

    @property
    def by_name(self) -> dict[str, Tensor]:
        """The three, in the order of the lambdas."""
        return {
            "uncertainty": self.uncertainty,
            "similarity": self.similarity,
            "representativeness": self.representativeness,
        }

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
    posterior_temperature: float | None,
    distance: Distance,
    negatives: Negatives,
) -> Scores:
    """The three scores of every (anchor, negative).

    z (2B, D) normalised; cosine (2B, 2B) = z z^T; projection_norm (2B,) = ||o||; hidden (2B, H) = v, to which 1 is
    appended for the bias. ``posterior_temperature`` is that of the pseudo-labelled loss, None for ``temperature``, the
    contrastive loss's; ``infonce_z`` is a gradient of that loss itself, and has no posterior.
    """
    if uncertainty == "infonce_z":
        uncertain = fill_others(cosine / temperature, -math.inf, negatives).softmax(dim=1)
    else:
        posterior = temperature if posterior_temperature is None else posterior_temperature
        delta = gradient_factors(z, projection_norm, temperature=posterior, pseudo_label=pseudo_label)
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
    weights: Three,
    *,
    standardized: bool,
    normalization: Normalization,
    sharpness: Three,
    temperature: float,
) -> Tensor:
    """w_ij (2B, 2B): non-negative, with mean 1 over each anchor's negatives, and 0 elsewhere.

    weights    lambda: of uncertainty, anchor similarity, representativeness; sum 1
    sharpness  b, one per score: 0 takes a score's influence away
    With m(c) a score scaled to [0, 1] over the anchor's negatives, and N = |N(i)|:
    ``minmax``   w = h / mean h, h = sum lambda m(c)^b
    ``exp``      w = N softmax_j(sum lambda b m(c))
    ``softmix``  w = sum lambda N softmax_j(b c), similarity divided by the temperature: (0, 1, 0) is HCL's weighting
    ``standardized`` puts z(c) in the place of c in ``minmax`` and ``softmix``, of m(c) in ``exp``: the score minus its
    mean, over its standard deviation, both over the anchor's negatives, clipped at +-4.
    A score that is the same for all negatives tells none apart; where all are, the weights are equal.
    """
    negatives, columns = scores.negatives, list(scores.by_name.values())
    count = negative_count(len(scores.similarity) // 2, negatives)
    if standardized:
        columns = [_standardized(c, negatives) if share > 0 else c for c, share in zip(columns, weights, strict=True)]
    elif normalization == "softmix":
        columns[1] = columns[1] / temperature
    parts = [part for part in zip(weights, sharpness, columns, strict=True) if part[0] > 0]
    if normalization == "softmix":
        shares = [share * fill_others(b * column, -math.inf, negatives).softmax(dim=1) for share, b, column in parts]
        return count * torch.stack(shares).sum(dim=0)
    if normalization == "exp":
        factors = [(share * b, column) for share, b, column in parts]
        if standardized:
            logits = torch.stack([factor * column for factor, column in factors]).sum(dim=0)
        else:
            logits = _scaled_sum([(factor, 1.0, column) for factor, column in factors], negatives)
        return count * fill_others(logits, -math.inf, negatives).softmax(dim=1)
    mixed = fill_others(_scaled_sum(parts, negatives), 0, negatives)
    return mixed * (count / mixed.sum(dim=1, keepdim=True))


def _scaled_sum(parts: list[tuple[float, float, Tensor]], negatives: Negatives) -> Tensor:
    """sum factor m(score)^exponent over parts (factor, exponent, score); 1 where no score tells negatives apart."""
    bounds = [_bounds(column, negatives) for _, _, column in parts]
    constant = torch.stack([high == low for low, high in bounds]).all(dim=0)
    mixed = constant.to(parts[0][2].dtype)
    for (factor, exponent, column), (low, high) in zip(parts, bounds, strict=True):
        scale = torch.where(high > low, 1 / (high - low).clamp_min(1e-12), 0)
        if exponent == 1:
            mixed = torch.addcmul(mixed, column - low, factor * scale)
        else:
            mixed = mixed + factor * _power((column - low) * scale, exponent)
    return mixed


def _power(base: Tensor, exponent: float) -> Tensor:
    """base^exponent, with a finite gradient where the base is 0; 0^0 is 1."""
    positive = base > 0
    return torch.where(positive, torch.where(positive, base, 1).pow(exponent), float(exponent == 0))


def _standardized(column: Tensor, negatives: Negatives) -> Tensor:
    """z (2B, 2B): each score minus the mean over its anchor's negatives, over their standard deviation, clipped.

    0 where they differ by no more than rounding.
    """
    count = negative_count(len(column) // 2, negatives)
    mean = fill_others(column.clone(), 0, negatives).sum(dim=1, keepdim=True) / count
    centred = fill_others(column - mean, 0, negatives)
    deviation = (centred.square().sum(dim=1, keepdim=True) / count).clamp_min(1e-30).sqrt()
    differs = deviation > ROUNDING * (mean.abs() + deviation)
    return torch.where(differs, centred / deviation, 0).clamp(-LARGEST_Z, LARGEST_Z)


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
    negatives: Negatives,
    tau_plus: float,
    **weighting: Unpack[Weighting],
) -> Tensor:
    """-log(e^{s+} / (e^{s+} + sum_j sg[w_ij] e^{s_ij})), mean over all 2B anchors. Returns a scalar.

    first, second: projections of the two views, ``hidden`` (B, H) and ``output`` (B, D).
    """
    z, weight, scores = weighted(first, second, temperature=temperature, negatives=negatives, **weighting)
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
    negatives: Negatives,
    **weighting: Unpack[Weighting],
) -> tuple[Tensor, Tensor, Scores]:
    """Normalised embeddings z (2B, D), the weights (2B, 2B) of their negatives, and the scores they are made of."""
    z = normalized_pair(first.output, second.output, least=2 if negatives == "both" else 3)
    output = torch.cat([first.output, second.output]).float()
    hidden = torch.cat([first.hidden, second.hidden]).float()
    cosine = z @ z.T
    with torch.set_grad_enabled(torch.is_grad_enabled() and not weighting["detach_weights"]):
        scores = score_negatives(
            z,
            cosine,
            output.norm(dim=1).clamp_min(1e-12),
            hidden,
            temperature=temperature,
            uncertainty=weighting["uncertainty"],
            pseudo_label=weighting["pseudo_label"],
            posterior_temperature=weighting["posterior_temperature"],
            distance=weighting["distance"],
            negatives=negatives,
        )
        weight = negative_weights(
            scores,
            weighting["weights"],
            standardized=weighting["standardized"],
            normalization=weighting["normalization"],
            sharpness=weighting["sharpness"],
            temperature=temperature,
        )
    return z, weight, scores
