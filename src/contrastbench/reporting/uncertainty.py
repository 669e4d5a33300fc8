"""95 % interval of one cell: another seed would train another encoder, another test set would hold other images.

The variance of a mean over S seeds is V = A / S + C, as in the crossed test (reporting/significance.py). A is the
variance between the seeds' values: of training, and of sampling those examples that each seed has for itself. C is the
covariance of two seeds' values, from the examples that both have judged. Their margins add up as in the test.

Three seeds say little about A, so it is pooled over the methods of a column (:func:`spread_of`), relative to p (1 - p),
because shares near 0 or 1 vary less. A share whose variance is p (1 - p) V says as much as 1 / V independent examples.
That number, and the margin over its standard deviation for the normal quantile, go into Wilson's score interval, as for
surveys by clusters (Dean and Pagano, 2015, doi 10.1093/jssam/smv024): it stays within 0 and 1, and has a width at 0 and
at 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from contrastbench.reporting.judged import covariance_of_means, draws_of, examples_of, shared_examples
from contrastbench.reporting.significance import ALPHA, Error, Interval, additive_residual, same_tests
from contrastbench.results.metrics import METRICS
from contrastbench.results.rows import Row

NORMAL = float(special.ndtri(1 - ALPHA / 2))


@dataclass(frozen=True)
class Spread:
    """Variance between the values of a column's seeds, relative to :func:`scale_of`, and its degrees of freedom."""

    relative: float
    freedom: float


def scale_of(rows: Sequence[Row]) -> float:
    """What variances count relative to: p (1 - p) of a share p, the square of any other value; 0 tells nothing."""
    mean = float(np.mean([row.value for row in rows]))
    return mean * (1 - mean) if METRICS[rows[0].metric].percent else mean**2


def spread_of(cells: Sequence[Sequence[Row]]) -> Spread | None:
    """The variance between seeds, pooled over the ``cells`` of one column; None where there is nothing to pool.

    A seed does something to all methods (it chooses labels, or images), so they are no independent estimates of it:
    the degrees of freedom are Satterthwaite's for the sum of what seeds do to all and of method x seed.
    """
    told = [(rows, scale) for rows in cells if len(rows) > 1 and (scale := scale_of(rows)) > 0]
    if not told or not same_tests([rows for rows, _ in told]):
        return None
    methods = np.repeat(np.arange(len(told)), [len(rows) for rows, _ in told])
    values = np.concatenate([(values_of(rows) - values_of(rows).mean()) / scale**0.5 for rows, scale in told])
    squares, freedom = float(values @ values), len(values) - len(told)
    rest, rest_freedom = additive_residual(values, methods, np.array([row.seed for rows, _ in told for row in rows]))
    parts = [(squares - rest, freedom - rest_freedom), (rest, rest_freedom)]
    uncertain = sum(part**2 / of_part for part, of_part in parts if of_part)
    return Spread(squares / freedom, squares**2 / uncertain if uncertain else float(freedom))


def values_of(rows: Sequence[Row]) -> np.ndarray:
    """(rows,) values."""
    return np.array([row.value for row in rows])


def interval_of(rows: Sequence[Row], column: Spread | None = None) -> Interval | None:
    """95 % interval of the mean over the ``rows`` of one cell, a row per seed; ``column`` is what its column tells.

    Of one seed it says nothing about other seeds, nor other draws of labels. None where nothing tells how uncertain the
    value is.
    """
    scale = scale_of(rows)
    judged = [verdicts for row in rows if (verdicts := draws_of(row)) is not None]
    if len(judged) == len(rows):
        values, within, shared = _by_verdicts(rows, judged, scale)
    elif len(rows) == 1:
        return rows[0].interval
    else:
        values, within, shared = _by_intervals(rows, scale)
    between = _between(values, scale, column)
    of_seeds = between.relative / len(values)
    variance = max(of_seeds + shared, within / len(values))
    if not variance:
        return None
    error = Error(between.relative, between.freedom, len(values), max(variance - of_seeds, 0.0), np.inf)
    quantile, mean = error.margin(ALPHA / 2) / variance**0.5, float(values.mean())
    if METRICS[rows[0].metric].percent:
        return wilson(mean, variance, quantile)
    half = quantile * mean * variance**0.5
    return max(0.0, mean - half), mean + half


def wilson(share: float, variance: float, quantile: float) -> Interval:
    """Wilson's score interval of a ``share`` of 1 / ``variance`` independent trials, which need be no whole number."""
    pull = quantile**2 * variance
    middle, half = share + pull / 2, (pull * (share * (1 - share) + pull / 4)) ** 0.5
    return max(0.0, (middle - half) / (1 + pull)), min(1.0, (middle + half) / (1 + pull))


def _between(values: np.ndarray, scale: float, column: Spread | None) -> Spread:
    """The column's variance between seeds, or the cell's own where that is larger, as in the test."""
    if len(values) == 1:
        return Spread(0.0, np.inf)
    own = float(values.var(ddof=1)) / scale if scale else 0.0
    return Spread(max(own, column.relative), column.freedom) if column else Spread(own, len(values) - 1)


def _by_verdicts(rows: Sequence[Row], judged: list[np.ndarray], scale: float) -> tuple[np.ndarray, float, float]:
    """Value of each seed; relative variance of one from its examples; relative covariance of two from common ones.

    ``judged`` (draws, n) are each row's verdicts. An example that varies by 1, and that all judge alike, is added:
    where (nearly) all verdicts are the same they do not tell how alike the seeds judge, and the worst is assumed.
    """
    examples = [examples_of(row, verdicts.shape[1]) for row, verdicts in zip(rows, judged, strict=True)]
    verdicts = [each.mean(0) for each in judged]
    values = np.array([each.mean() for each in verdicts])
    count = float(np.mean([len(each) for each in verdicts]))
    within = (count * float(np.mean([each.var() for each in verdicts])) + 1) / (count * scale + 1) / count
    most = shared_examples(examples) if len(verdicts) > 1 else 0.0
    if not most:
        return values, within, 0.0
    alike = (count**2 * covariance_of_means(verdicts, examples) + 1) / (count**2 * most * scale + 1)
    return values, within, max(alike, 0.0) * most


def _by_intervals(rows: Sequence[Row], scale: float) -> tuple[np.ndarray, float, float]:
    """The same from the rows' own intervals. Common examples count in full, as nothing tells how alike they are."""
    halves = [(row.interval[1] - row.interval[0]) / 2 / NORMAL for row in rows if row.interval]
    count = float(np.mean([row.n for row in rows]))
    within = (float(np.mean(np.square(halves))) / scale if scale else 1 / count) if halves else 0.0
    drawn = all("drawn_from" in row.detail for row in rows)  # else there are episodes, which each seed draws anew
    shared = count * shared_examples([examples_of(row, row.n) for row in rows]) if drawn else 0.0
    return values_of(rows), within, within * shared
