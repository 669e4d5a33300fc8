"""Standardised and whitened features: by the statistics of what they are fitted on, and finite where these fail."""

import numpy as np
import pytest

from contrastbench.evaluation.scaling import fit_scaling


def features(rows: int, seed: int = 0, dim: int = 6) -> np.ndarray:
    """Correlated, of very different variances, around a mean that is not 0."""
    mixing = np.random.default_rng(99).normal(size=(dim, dim)) * np.logspace(-1, 1, dim)
    return (np.random.default_rng(seed).normal(size=(rows, dim)) @ mixing + 3.0).astype(np.float32)


def test_raw_is_left_alone() -> None:
    rows = features(10)
    assert fit_scaling(features(50, 1), "raw")(rows) is rows


def test_standardised_by_hand() -> None:
    base, rows = features(50, 1), features(10)
    expected = (rows.astype(float) - base.astype(float).mean(0)) / base.astype(float).std(0)
    scaled = fit_scaling(base, "standardised")(rows)
    assert scaled.dtype == np.float32 and np.allclose(scaled, expected, atol=1e-5)


def test_whitened_features_are_uncorrelated_and_distances_are_mahalanobis() -> None:
    base, rows = features(20000, 1), features(10)
    whiten = fit_scaling(base, "whitened")
    assert np.allclose(np.cov(whiten(base), rowvar=False), np.eye(6), atol=0.02)
    assert np.allclose(whiten(base).mean(0), 0, atol=0.01)
    difference = (rows[0] - rows[1]).astype(float)
    mahalanobis = difference @ np.linalg.inv(np.cov(base.astype(float), rowvar=False)) @ difference
    assert np.square(whiten(rows)[0] - whiten(rows)[1]).sum() == pytest.approx(mahalanobis, rel=0.02)


@pytest.mark.parametrize("scaling", ["standardised", "whitened"])
def test_fewer_rows_than_features_and_a_collapsed_encoder_stay_finite(scaling: str) -> None:
    few, constant = features(4, 1), np.ones((30, 6), np.float32)
    assert np.isfinite(fit_scaling(few, scaling)(features(10))).all()
    assert np.isfinite(fit_scaling(constant, scaling)(features(10))).all()
