"""Features with labels, random samples of a few of them, and whether a fitted classifier is right on them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from contrastbench.errors import UserError
from contrastbench.evaluation.clips import by_clip
from contrastbench.evaluation.vote import vote


@dataclass(frozen=True)
class Labelled:
    """Features (N, D), possibly memory-mapped, and class numbers (N,) of one split.

    clip  (N,) the example that a row belongs to, as sorted numbers 0 to C - 1, where examples are clips of several
          segments; None where every row is an example
    """

    features: np.ndarray
    labels: np.ndarray
    clip: np.ndarray | None = None


def is_correct(classifier: Any, split: Labelled) -> np.ndarray:
    """Whether ``classifier`` (fitted, with scikit-learn's methods) is right on each example, (C,) bool.

    The segments of a clip vote.
    """
    if split.clip is None:
        return classifier.predict(split.features) == split.labels
    clips = by_clip(split.features, split.clip, split.labels)
    scores = torch.from_numpy(classifier.predict_proba(split.features)).log()
    voted = vote(scores[clips.segments], torch.from_numpy(clips.segments >= 0))
    return classifier.classes_[voted.numpy()] == clips.labels


def sample_examples(train: Labelled, shots: int, rng: np.random.Generator, *, setting: str) -> Labelled:
    """All rows of ``shots`` random examples of every class; see :func:`sample_per_class`."""
    if train.clip is None:
        rows = sample_per_class(train.labels, shots, rng, setting=setting)
    else:
        first = np.unique(train.clip, return_index=True)[1]
        rows = np.flatnonzero(np.isin(train.clip, sample_per_class(train.labels[first], shots, rng, setting=setting)))
    return Labelled(train.features[rows], train.labels[rows])


def sample_per_class(labels: np.ndarray, shots: int, rng: np.random.Generator, *, setting: str) -> np.ndarray:
    """Sorted positions of ``shots`` random examples of every class, without repetition.

    Raises a UserError that names the parameter ``setting`` when a class has fewer.
    """
    chosen = []
    for label in np.unique(labels):
        positions = np.flatnonzero(labels == label)
        if len(positions) < shots:
            raise UserError(f"{setting}: {shots} labels per class asked for, class {label} has {len(positions)}")
        chosen.append(rng.choice(positions, shots, replace=False))
    return np.sort(np.concatenate(chosen))
