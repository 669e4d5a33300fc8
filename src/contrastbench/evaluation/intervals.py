"""95 % confidence intervals of shares, means and medians.

scipy.stats takes half a second to import, which stages without such intervals need not wait for.
"""

import math

import numpy as np

CONFIDENCE = 0.95


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Wilson's score interval of a share of ``n`` independent trials (n >= 1)."""
    from scipy.stats import binomtest

    interval = binomtest(successes, n).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def mean_interval(values: np.ndarray) -> tuple[float, tuple[float, float]]:
    """The mean of ``values`` (n,) and its normal interval, mean +- 1.96 std / sqrt(n)."""
    mean = float(values.mean())
    half = 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values))
    return mean, (mean - half, mean + half)


def median_interval(values: np.ndarray) -> tuple[float, tuple[float, float] | None]:
    """The median of ``values`` (n,) and its distribution-free interval between two order statistics.

    The interval is None for n < 6, where not even the smallest and the largest value reach the confidence.
    """
    from scipy.stats import quantile_test

    interval = quantile_test(values, p=0.5).confidence_interval(CONFIDENCE)
    low, high = float(interval.low), float(interval.high)
    return float(np.median(values)), None if math.isnan(low) else (low, high)
