"""N-way K-shot episodes on frozen features, as in MetaAudio (specification of uaMix-MAE, section 3a), in batches.

An episode samples N classes and, without repetition, Q query clips and K support clips of each; no query clip is of
the same source (recording, speaker) as its class's support. A support clip is represented by one random segment; a
query clip is classified by the majority of its segments.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from contrastbench.errors import UserError
from contrastbench.evaluation.clips import Clips
from contrastbench.evaluation.vote import vote

EPISODES_AT_ONCE = 500
ACCURACY = 1e-6  # of the logistic regression's objective, as a share of the initial gap to its minimum


@dataclass(frozen=True)
class Episodes:
    """Positions of clips: ``support`` (E, N, K) and ``query`` (E, N, Q); class n of an episode is its row n."""

    support: Tensor
    query: Tensor


def sample_episodes(
    labels: np.ndarray,
    *,
    sources: np.ndarray | None = None,
    way: int,
    shots: int,
    queries: int,
    count: int,
    generator: Generator,
) -> Episodes:
    """Sample ``count`` episodes of clips with these ``labels`` (C,), uniformly and without repetition.

    ``sources`` (C,) numbers what the clips come from; None: each comes from a source of its own. All clips of a class
    are equally often queries; support is drawn uniformly from its clips of other sources than the queries'.
    Raises UserError when there are fewer classes than ``way`` or a class may run out of clips.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    if way > len(classes):
        raise UserError(f"few_shot.way = {way}: there are only {len(classes)} classes")
    sources = np.arange(len(labels)) if sources is None else sources
    left = sizes - [np.sort(np.unique(sources[labels == c], return_counts=True)[1])[-queries:].sum() for c in classes]
    if shots > left.min():
        raise UserError(
            f"few_shot.shots = {shots}, queries = {queries}: class {classes[left.argmin()]} may have only {left.min()} "
            f"of its {sizes[left.argmin()]} clips left beside its queries and what shares a source with them"
        )
    source = torch.from_numpy(sources)
    members = torch.full((len(classes), int(sizes.max())), -1)
    for row, label in enumerate(classes):
        members[row, : sizes[row]] = torch.from_numpy(np.flatnonzero(labels == label))
    parts = []
    for first in range(0, count, EPISODES_AT_ONCE):
        size = min(EPISODES_AT_ONCE, count - first)
        chosen = torch.rand(size, len(classes), generator=generator).topk(way).indices
        clips = members[chosen]  # (size, way, largest class)
        keys = torch.rand(clips.shape, generator=generator).masked_fill(clips < 0, -1.0)
        query = clips.gather(2, keys.topk(queries).indices)
        taken = (source[clips].unsqueeze(3) == source[query].unsqueeze(2)).any(3)  # the queries themselves, too
        support = clips.gather(2, keys.masked_fill(taken, -1.0).topk(shots).indices)
        parts.append((support, query))
    return Episodes(*(torch.cat(part) for part in zip(*parts, strict=True)))


def few_shot_accuracies(
    clips: Clips, episodes: Episodes, classifier: str, *, base_mean: np.ndarray, l2: float, generator: Generator
) -> np.ndarray:
    """Each episode's share of correctly classified query clips (E,).

    ``classifier``: ``centroid`` (nearest class mean, Euclidean), ``cl2n`` (SimpleShot: features minus ``base_mean``
    (D,), L2-normalised, nearest class mean) or ``linear`` (logistic regression on L2-normalised features).
    """
    features = torch.from_numpy(clips.features).float()
    if classifier == "cl2n":
        features = functional.normalize(features - torch.from_numpy(base_mean).float())
    elif classifier == "linear":
        features = functional.normalize(features)
    segments = torch.from_numpy(clips.segments)
    correct = []
    for support, query in _chunks(episodes):
        rows = segments[support]
        position = torch.rand(support.shape, generator=generator) * (rows >= 0).sum(-1)
        chosen = rows.gather(-1, position.long().unsqueeze(-1)).squeeze(-1)  # (E, N, K): one segment of each clip
        query_rows = segments[query].flatten(1, 2)  # (E, N Q, S)
        x = features[query_rows.clamp_min(0)].flatten(1, 2)
        scores = _linear(features[chosen], x, l2) if classifier == "linear" else _centroid(features[chosen], x)
        predicted = vote(scores.unflatten(1, query_rows.shape[1:]), query_rows >= 0)
        truth = torch.arange(query.shape[1]).repeat_interleave(query.shape[2])
        correct.append((predicted == truth).double().mean(1))
    return torch.cat(correct).numpy()


def _chunks(episodes: Episodes) -> Iterator[tuple[Tensor, Tensor]]:
    pairs = zip(episodes.support.split(EPISODES_AT_ONCE), episodes.query.split(EPISODES_AT_ONCE), strict=True)
    yield from pairs


def _centroid(support: Tensor, queries: Tensor) -> Tensor:
    """Minus half the squared distance to each class mean, up to a constant: (E, N, K, D), (E, M, D) -> (E, M, N)."""
    means = support.mean(2)
    return queries @ means.transpose(1, 2) - means.square().sum(-1).unsqueeze(1) / 2


def _linear(support: Tensor, queries: Tensor, l2: float) -> Tensor:
    """Logits (E, M, N) of one logistic regression per episode."""
    way, shots = support.shape[1:3]
    x = support.flatten(1, 2)
    labels = torch.arange(way).repeat_interleave(shots)
    return queries @ fit_logistic(x, labels, way, l2)


def fit_logistic(x: Tensor, labels: Tensor, classes: int, l2: float) -> Tensor:
    """Weights (E, D, classes) of multinomial logistic regressions without intercept, one for each x (E, n, D).

    Minimises mean cross-entropy + l2 / 2 ||W||^2 (scikit-learn's C = 1 / (l2 n)); ``labels`` (n,) are shared.
    W is in the span of the examples, W = x^T a^T, so that Nesterov's method needs only a (E, classes, n) and the Gram
    matrices: its steps are those of gradient descent on W. The step size is one over the Lipschitz constant
    mean ||x||^2 / 2 + l2; the number of steps follows from the condition number. Examples are the last axis because
    it is the longest, which is fastest on a CPU.
    """
    gram = x @ x.transpose(1, 2)
    n = x.shape[1]
    smooth = float(gram.diagonal(dim1=1, dim2=2).mean(1).amax()) / 2 + l2
    root = math.sqrt(smooth / l2)
    momentum = (root - 1) / (root + 1)
    wanted = functional.one_hot(labels, classes).to(x.dtype).T
    a = torch.zeros(len(x), classes, n, dtype=x.dtype)
    ahead = a
    for _ in range(math.ceil(-root * math.log(ACCURACY))):
        residual = (ahead @ gram).softmax(1) - wanted
        new = ahead - (residual / n + l2 * ahead) / smooth
        ahead = new + momentum * (new - a)
        a = new
    return (a @ x).transpose(1, 2)
