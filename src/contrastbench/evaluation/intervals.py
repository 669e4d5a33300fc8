"""Confidence intervals of measured shares."""


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share of ``n`` independent trials (n >= 1)."""
    from scipy.stats import binomtest  # half a second, which stages that write no shares need not wait for

    interval = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)
