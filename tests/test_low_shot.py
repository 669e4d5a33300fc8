"""Low-shot logistic regression on clips, official folds, and what cannot be drawn."""

from dataclasses import replace

import numpy as np
import pytest

from contrastbench.evaluation.clips import Clips, by_clip
from contrastbench.evaluation.labelled import sample_per_class
from contrastbench.evaluation.low_shot import low_shot, rotate_folds
from contrastbench.params.evaluation import Centre


def toy(per_class: int, seed: int, signal: float = 1.0, classes: int = 4, dim: int = 12) -> Clips:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    centres = np.random.default_rng(99).normal(size=(classes, dim))
    features = (signal * centres[labels] + rng.normal(size=(len(labels), dim))).astype(np.float32)
    return Clips(features, np.arange(len(labels))[:, None], labels)


def accuracy(shots: int, signal: float = 1.0, classes: int = 4) -> float:
    """Mean over 5 draws and 3 data sets."""
    hits = [
        low_shot(
            toy(40, 10 + seed, signal, classes),
            toy(60, 50 + seed, signal, classes),
            shots=shots,
            centre="training",
            strength=4000.0,
            rng=np.random.default_rng(draw),
        )
        for seed in range(3)
        for draw in range(5)
    ]
    return float(np.mean(hits))


def test_more_labels_help_and_noise_gives_chance() -> None:
    one, five, twenty = (accuracy(shots) for shots in (1, 5, 20))
    assert one + 0.05 < five < twenty
    assert abs(accuracy(5, signal=0.0) - 0.25) < 0.05
    assert accuracy(5, signal=40.0) == 1.0


def test_two_classes() -> None:
    assert accuracy(5, signal=40.0, classes=2) == 1.0
    assert abs(accuracy(5, signal=0.0, classes=2) - 0.5) < 0.06


@pytest.mark.parametrize("centre", ["training", "row"])
def test_equals_the_regression_by_hand(centre: Centre) -> None:
    """W solves the first-order condition of sum CE + ||W||^2 / (2 C) on centred, normalised features."""
    from scipy.optimize import minimize

    train, test = toy(10, 1), toy(30, 2)
    rng = np.random.default_rng(0)
    chosen = sample_per_class(train.labels, 4, np.random.default_rng(0), setting="low")
    x, q = train.features[chosen], test.features
    centres = [train.features.mean(0)] * 2 if centre == "training" else [v.mean(1, keepdims=True) for v in (x, q)]
    x, q = (v - mean for v, mean in zip((x, q), centres, strict=True))
    x, q = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x.astype(float), q.astype(float)))
    y = np.eye(4)[train.labels[chosen]]

    def objective(flat: np.ndarray) -> float:
        logits = x @ flat.reshape(12, 4)
        log_sum = np.log(np.exp(logits).sum(1))
        return float((log_sum - (y * logits).sum(1)).sum() + (flat**2).sum() / (2 * 2.0))

    weights = minimize(objective, np.zeros(48), tol=1e-10).x.reshape(12, 4)
    expected = (q @ weights).argmax(1) == test.labels
    found = low_shot(train, test, shots=4, centre=centre, strength=2.0, rng=rng)
    assert (found != expected).sum() <= 2  # of 120: the solver's tolerance


def test_what_each_centring_removes() -> None:
    """What is the same in all clips, and what is the same in all features of a clip."""
    train, test = toy(20, 1), toy(30, 2)
    shifts = {
        "training": lambda clips: replace(clips, features=clips.features + 10 * np.arange(12, dtype=np.float32)),
        "row": lambda clips: replace(clips, features=clips.features + 10 * clips.labels[:, None].astype(np.float32)),
    }
    for centre, shift in shifts.items():
        found = {
            each: low_shot(*clips, shots=5, centre=each, strength=4000.0, rng=np.random.default_rng(0))
            for clips in [(shift(train), shift(test))]
            for each in shifts
        }
        plain = low_shot(train, test, shots=5, centre=centre, strength=4000.0, rng=np.random.default_rng(0))
        assert (found[centre] == plain).mean() > 0.98  # float32
        assert sum((found[each] == plain).mean() < 0.98 for each in shifts) == 1


def test_test_clips_are_judged_by_their_segments() -> None:
    train, test = toy(20, 1, signal=40.0), toy(20, 2, signal=40.0)
    clip = np.repeat(np.arange(80), 3)
    features = test.features[clip].copy()
    features[1::3] = np.random.default_rng(0).permutation(features[1::3])
    segments = by_clip(features, clip, test.labels[clip])
    correct = low_shot(train, segments, shots=10, centre="training", strength=100.0, rng=np.random.default_rng(0))
    assert correct.shape == (80,) and correct.all()


def test_folds_rotate_and_never_share_a_recording() -> None:
    fold = np.array([1, 1, 2, 2, 3, 3])
    group = np.array([7, 8, 8, 9, 5, 6])  # recording 8 is in two folds
    pairs = list(rotate_folds(fold, group))
    assert [test.tolist() for _, test in pairs] == [(fold == f).tolist() for f in (1, 2, 3)]
    for train, test in pairs:
        assert not set(group[train]) & set(group[test])
    assert [int(train.sum()) for train, _ in pairs] == [3, 3, 4]
