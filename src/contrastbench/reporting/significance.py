"""Is a difference between two methods (or two commits) more than chance? Paired over seeds and test examples.

With verdicts on every example and several seeds, both are random: another seed would train another encoder,
another test set would hold other images. The test is the one that studies of several readers judging the same
cases use: two-way crossed random effects with the degrees of freedom of Hillis (2007, Statistics in Medicine
26:596-619, doi 10.1002/sim.2532). With one seed it is the exact McNemar test over examples, which says nothing
about seeds. Without verdicts it is the paired t-test over seeds.

Each test gives an interval of the difference that agrees with it: it leaves out 0 just where p <= 5 %.

Three seeds say little about how much one pair of methods varies. Where several methods were measured on the same
thing, :func:`pooled_seeds` estimates that variance from all of them, as Hillis does for more than two tests.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from contrastbench.reporting.judged import covariance_of_means, draws_of, examples_of
from contrastbench.results.rows import Row

ALPHA = 0.05
Interval = tuple[float, float]


@dataclass(frozen=True)
class SeedVariance:
    """How much a difference between two methods varies from seed to seed, squared, and on how much that rests.

    of_difference  variance over seeds of (value of one method minus value of another, same seed)
    freedom        degrees of freedom of the estimate
    """

    of_difference: float
    freedom: float


@dataclass(frozen=True)
class Paired:
    """A paired comparison of two groups of rows.

    difference  mean over common seeds of first minus second
    p_value     two-sided; None where no test is possible
    test        name of the test, or why there is none
    interval    of the difference, 95 %, for this comparison alone; None where there is no test, or where it is the
                sign test because nothing varies over seeds: signs do not tell how large a difference is
    """

    difference: float
    p_value: float | None
    test: str
    interval: Interval | None = None


@dataclass(frozen=True)
class Tested:
    """The answer of one test: its two-sided p-value, and the 95 % interval where it gives one."""

    p_value: float
    interval: Interval | None = None


def compare_rows(first: Sequence[Row], second: Sequence[Row], pooled: SeedVariance | None = None) -> Paired:
    """Compare two cells on the seeds that both have; ValueError if there is none.

    ``pooled`` is the variance over seeds where more than these two cells tell it (:func:`pooled_seeds`); it is used
    wherever the test is over seeds.
    """
    left, right = ({row.seed: row for row in rows} for rows in (first, second))
    pairs = [(left[seed], right[seed]) for seed in sorted(left.keys() & right.keys())]
    if not pairs:
        raise ValueError("no seed in common")
    by_seed = np.array([a.value - b.value for a, b in pairs])
    difference = float(by_seed.mean())
    if any(a.data_hash != b.data_hash for a, b in pairs):
        return Paired(difference, None, "other test data")
    per_example = [_example_differences(a, b) for a, b in pairs]
    matrix = [row for row in per_example if row is not None]
    if len(matrix) == len(pairs) and len({len(row) for row in matrix}) == 1:
        if len(pairs) == 1:
            found, name = _one_seed(matrix[0])
        else:
            examples = [examples_of(row, len(matrix[0])) for row, _ in pairs]
            found, name = crossed_test(np.stack(matrix), pooled, examples), "seeds x examples"
    elif len(pairs) == 1:
        return Paired(difference, None, "one seed and no verdict on every example")
    else:
        found, name = _t_test(by_seed, pooled), "paired t over seeds"
    return Paired(difference, found.p_value, name, found.interval)


def _example_differences(first: Row, second: Row) -> np.ndarray | None:
    """Verdict of ``first`` minus that of ``second`` on each test example, mean over label draws.

    None without verdicts on the same two examples or more.
    """
    verdicts = draws_of(first), draws_of(second)
    if verdicts[0] is None or verdicts[1] is None or verdicts[0].shape != verdicts[1].shape:
        return None
    if verdicts[0].shape[1] < 2:
        return None
    return verdicts[0].mean(0) - verdicts[1].mean(0)


def _one_seed(differences: np.ndarray) -> tuple[Tested, str]:
    if np.isin(differences, (-1, 0, 1)).all():
        counts = int((differences > 0).sum()), int((differences < 0).sum())
        return mcnemar(*counts, examples=len(differences)), "McNemar, one seed"
    return _t_test(differences), "paired t over examples, one seed"


def mcnemar(only_first: int, only_second: int, examples: int) -> Tested:
    """Exact McNemar test from the counts of examples, of so many, that only one side has right.

    The interval is that of Clopper and Pearson for the share of the first among those, as a difference: like the
    test, it takes their number as given.
    """
    discordant = only_first + only_second
    if not discordant:
        return Tested(1.0, (0.0, 0.0))
    found = stats.binomtest(only_first, discordant)
    share = found.proportion_ci(1 - ALPHA, method="exact")
    low, high = ((2 * end - 1) * discordant / examples for end in (share.low, share.high))
    return Tested(float(found.pvalue), (float(low), float(high)))


def pooled_seeds(cells: Sequence[Sequence[Row]]) -> SeedVariance | None:
    """Variance of a difference over seeds, pooled over the ``cells`` of one column; None where they cannot be.

    Twice the residual mean square of the additive model value = method + seed, fitted by least squares to every row
    there is. With M methods on the same S seeds that is the two-way analysis of variance with (M - 1)(S - 1) degrees
    of freedom, and for M = 2 the pair's own variance; a method that lacks a seed adds what it has. Not pooled is
    what was judged on other test data, or leaves no degree of freedom.

    Assumes that all methods vary alike from seed to seed, beyond what a seed does to all of them. One that varies
    more is called different too easily, the others too seldom (docs/results.md gives measured rates).
    """
    if not same_tests(cells):
        return None
    values = np.array([row.value for cell in cells for row in cell])
    methods = np.repeat(np.arange(len(cells)), [len(cell) for cell in cells])
    squares, freedom = additive_residual(values, methods, np.array([row.seed for cell in cells for row in cell]))
    return SeedVariance(2 * squares / freedom, freedom) if freedom else None


def same_tests(cells: Sequence[Sequence[Row]]) -> bool:
    """Whether all ``cells`` were judged on the same test data, in each seed."""
    rows = [row for cell in cells for row in cell]
    return len({(row.seed, row.data_hash, row.n) for row in rows}) == len({row.seed for row in rows})


def additive_residual(values: np.ndarray, methods: np.ndarray, seeds: np.ndarray) -> tuple[float, int]:
    """Sum of squares, and its degrees of freedom, that value = method + seed leaves; each argument has shape (rows,).

    ``methods`` are numbers from 0 on; not every pair of method and seed need be there.
    """
    _, seeds = np.unique(seeds, return_inverse=True)
    model = np.concatenate([np.eye(methods.max() + 1)[methods], np.eye(seeds.max() + 1)[seeds]], axis=1)
    solution, _, rank, _ = np.linalg.lstsq(model, values, rcond=None)
    return float(((values - model @ solution) ** 2).sum()), len(values) - int(rank)


def _own_seeds(by_seed: np.ndarray) -> SeedVariance:
    return SeedVariance(float(by_seed.var(ddof=1)), len(by_seed) - 1)


def _spread(differences: np.ndarray, pooled: SeedVariance | None) -> SeedVariance:
    """The pooled variance over seeds, or the pair's own where that is larger: some methods vary more than others."""
    own = _own_seeds(differences)
    if pooled is None:
        return own
    return SeedVariance(max(own.of_difference, pooled.of_difference), pooled.freedom)


def _t_test(differences: np.ndarray, pooled: SeedVariance | None = None) -> Tested:
    """Two-sided t-test of mean 0; without any spread, the exact sign test."""
    spread = _spread(differences, pooled)
    if spread.of_difference < 1e-24:
        return _sign_test(differences)
    return _t(float(differences.mean()), spread.of_difference / len(differences), spread.freedom)


def _t(mean: float, variance: float, freedom: float) -> Tested:
    """Of a ``mean`` that has this ``variance``."""
    error = float(np.sqrt(variance))
    half = float(special.stdtrit(freedom, 1 - ALPHA / 2)) * error  # as scipy.stats.t, without its tenth of a ms
    return Tested(float(2 * special.stdtr(freedom, -abs(mean) / error)), (mean - half, mean + half))


def _sign_test(differences: np.ndarray) -> Tested:
    up, down = int((differences > 1e-12).sum()), int((differences < -1e-12).sum())
    return Tested(mcnemar(up, down, len(differences)).p_value)


def crossed_test(
    differences: np.ndarray, pooled: SeedVariance | None = None, examples: Sequence[np.ndarray] | None = None
) -> Tested:
    """Test of mean 0 for ``differences`` (seeds, n), of random seeds and random examples; S, n >= 2.

    ``examples`` (n,) of each seed say which examples they are of, where seeds do not share all in one order.
    Variance of the mean: A / S + max(C, 0). A is the variance over seeds of their means: ``pooled`` with its f, else
    that of ``differences``, f = S - 1. C is the covariance of two seeds' means from the examples that both have
    (:func:`covariance_of_means`). Degrees of freedom: variance^2 / ((A / S)^2 / f), at most S n - 1. With the same
    examples in all seeds this is (MS_seeds + max(MS_examples - MS_residual, 0)) / (S n), the test of Hillis (2007).
    """
    seeds, count = differences.shape
    spread = _spread(differences.mean(1), pooled)
    of_seeds = spread.of_difference / seeds
    shared = covariance_of_means(list(differences), [np.arange(count)] * seeds if examples is None else examples)
    variance = of_seeds + max(shared, 0.0)
    if variance * seeds * count < 1e-12:
        return _sign_test(differences.mean(0))
    freedom = seeds * count - 1.0
    if of_seeds > 0:
        freedom = min(freedom, variance**2 / (of_seeds**2 / spread.freedom))
    return _t(float(differences.mean()), variance, freedom)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given (Holm, 1979): reject where the result is <= alpha."""
    values = np.asarray(p_values, dtype=float)
    ascending = np.argsort(values, kind="stable")
    adjusted = np.empty(len(values))
    factors = np.arange(len(values), 0, -1)
    adjusted[ascending] = np.minimum(1, np.maximum.accumulate(values[ascending] * factors))
    return [float(value) for value in adjusted]
