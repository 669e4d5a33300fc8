"""Confidence intervals: their equations, textbook values, and how often they cover the truth."""

import numpy as np
import pytest
from scipy.stats import norm

from contrastbench.evaluation.intervals import mean_interval, median_interval, wilson


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (10, 10), (812, 1000)])
def test_wilson_interval_solves_its_equation(hits: int, n: int) -> None:
    """The bounds p are where |hits/n - p| = z sqrt(p (1 - p) / n)."""
    z = norm.ppf(0.975)
    for p in wilson(hits, n):
        assert (hits / n - p) ** 2 == pytest.approx(z**2 * p * (1 - p) / n, abs=1e-9)


def test_the_interval_of_a_mean_is_the_textbooks() -> None:
    values = np.array([0.2, 0.4, 0.6, 0.8])
    mean, (low, high) = mean_interval(values)
    half = 1.96 * np.std(values, ddof=1) / 2
    assert (mean, low, high) == pytest.approx((0.5, 0.5 - half, 0.5 + half))


# Pairs of ranks that a table of order-statistics intervals gives for 95 %.
@pytest.mark.parametrize(("n", "ranks"), [(6, (1, 6)), (8, (1, 8)), (9, (2, 8)), (20, (6, 15)), (32, (10, 23))])
def test_the_interval_of_a_median_has_the_ranks_of_the_table(n: int, ranks: tuple[int, int]) -> None:
    values = np.arange(1.0, n + 1)[::-1]
    assert median_interval(values) == ((n + 1) / 2, ranks)


def test_the_interval_of_a_median_covers_it() -> None:
    """Whatever the distribution; at most 1.5 % more often than 95 % with 32 values, as ranks are whole numbers."""
    rng = np.random.default_rng(0)
    for samples, median in ((rng.normal(size=(2000, 32)), 0.0), (rng.exponential(size=(2000, 32)), np.log(2))):
        intervals = [interval for _, interval in map(median_interval, samples) if interval]
        covered = np.mean([low <= median <= high for low, high in intervals])
        assert len(intervals) == 2000 and 0.965 < covered < 0.99


def test_five_values_have_no_interval() -> None:
    assert median_interval(np.arange(5.0)) == (2.0, None)
