"""Multinomial logistic regression on frozen, standardised features: the one linear protocol of every method.

The inverse L2 strength is chosen on the validation split from a fixed grid; the test split is evaluated once, with
the chosen classifier.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from contrastbench.evaluation.labelled import Labelled, is_correct, sample_examples


@dataclass(frozen=True)
class ProbeResult:
    """Which test examples were classified correctly, and what was chosen on validation data."""

    correct: np.ndarray
    strength: float
    validation_accuracy: float


def linear_probe(
    train: Labelled, validation: Labelled, test: Labelled, strengths: Sequence[float], seed: int
) -> ProbeResult:
    """Fit on ``train`` for every candidate, choose on ``validation``, evaluate the chosen one on ``test``."""
    model, strength, accuracy = fit_linear(train, validation, strengths, seed)
    return ProbeResult(is_correct(model, test), strength, accuracy)


def fit_linear(
    train: Labelled, validation: Labelled, strengths: Sequence[float], seed: int
) -> tuple[Pipeline, float, float]:
    """The chosen classifier (scaler, regression), its inverse strength and its validation accuracy.

    Ties go to the stronger regularisation (the smaller value).
    """
    best: tuple[Pipeline, float, float] | None = None
    for strength in sorted(strengths):
        regression = LogisticRegression(C=strength, max_iter=1000, tol=1e-4, random_state=seed)
        model = make_pipeline(StandardScaler(), regression)
        model.fit(train.features, train.labels)
        accuracy = float(np.mean(is_correct(model, validation)))
        if best is None or accuracy > best[2]:
            best = model, strength, accuracy
    assert best is not None, "the grid of strengths has at least one entry (params.evaluation.ProbeParams)"
    return best


def low_label_probe(
    train: Labelled,
    validation: Labelled,
    test: Labelled,
    strengths: Sequence[float],
    *,
    shots: int,
    draws: int,
    seed: int,
) -> list[ProbeResult]:
    """The linear probe with ``shots`` labels per class, once per draw.

    The draws depend on (seed, shots, draw) alone, so that all methods of one seed see the same labels.
    """
    results = []
    for number in range(draws):
        rng = np.random.default_rng([seed, shots, number])
        few = sample_examples(train, shots, rng, setting="probe.low_label_shots")
        results.append(linear_probe(few, validation, test, strengths, seed))
    return results
