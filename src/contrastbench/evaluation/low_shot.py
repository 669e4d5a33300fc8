"""Logistic regression on a few labelled clips per class (specification of uaMix-MAE, section 3b, after MAE-CT).

Features are centred and L2-normalised; no intercept; the strength is fixed in advance, so that no validation label is
used. All segments of a training clip are used; a test clip is classified by their majority.
"""

from collections.abc import Iterator

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize

from contrastbench.evaluation.clips import Clips
from contrastbench.evaluation.labelled import sample_per_class
from contrastbench.evaluation.vote import vote
from contrastbench.params.evaluation import Centre

MAX_STEPS = 1000


def low_shot(
    train: Clips, test: Clips, *, shots: int, centre: Centre, strength: float, rng: np.random.Generator
) -> np.ndarray:
    """Which test clips (C,) are classified correctly, with ``shots`` labelled clips per class of ``train``.

    ``centre``: ``training`` subtracts the mean of all training clips; ``row`` from each row its own mean over its
    features, as cyanure's ``preprocess(centering=True, columns=False)`` does, which MSN and MAE-CT call.
    ``strength`` is scikit-learn's C; MAE-CT's penalty of 0.00025 / N on the mean loss is C = 4000.
    """
    chosen = train.take(sample_per_class(train.labels, shots, rng, setting="low_shot.shots"))
    mean = train.segment_rows()[0].mean(axis=0)

    def scaled(rows: np.ndarray) -> np.ndarray:
        return normalize(rows - (mean if centre == "training" else rows.mean(axis=1, keepdims=True)))

    x, y = chosen.segment_rows()
    model = LogisticRegression(C=strength, fit_intercept=False, max_iter=MAX_STEPS, tol=1e-3)
    model.fit(scaled(x), y)
    present = test.segments >= 0
    rows = scaled(test.features[test.segments.clip(min=0)].reshape(-1, test.features.shape[1]))
    scores = model.decision_function(rows)
    if scores.ndim == 1:  # two classes
        scores = np.stack([-scores, scores], axis=1) / 2
    scores = torch.from_numpy(scores.reshape(*present.shape, -1))
    predicted = model.classes_[vote(scores, torch.from_numpy(present)).numpy()]
    return predicted == test.labels


def rotate_folds(fold: np.ndarray, group: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Masks (train, test) for every official fold; clips of a recording in the test fold are left out of train."""
    for number in np.unique(fold):
        test = fold == number
        yield ~test & ~np.isin(group, group[test]), test
