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
from scipy import stats

from contrastbench.results.rows import Row, unpack_correct

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
            found, name = crossed_test(np.stack(matrix), pooled), "seeds x examples"
    elif len(pairs) == 1:
        return Paired(difference, None, "one seed and no verdict on every example")
    else:
        found, name = _t_test(by_seed, pooled), "paired t over seeds"
    return Paired(difference, found.p_value, name, found.interval)


def _example_differences(first: Row, second: Row) -> np.ndarray | None:
    """Verdict of ``first`` minus that of ``second`` on each test example, mean over label draws.

    None without verdicts on the same two examples or more.
    """
    if first.correct is None or second.correct is None or first.n != second.n:
        return None
    draws = [len(row.detail.get("draws", [None])) for row in (first, second)]
    if draws[0] != draws[1] or first.n % draws[0] or first.n < 2 * draws[0]:
        return None
    verdicts = [unpack_correct(row.correct or "", row.n).reshape(draws[0], -1).mean(0) for row in (first, second)]
    return verdicts[0] - verdicts[1]


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
    rows = [(method, row) for method, cell in enumerate(cells) for row in cell]
    seeds = sorted({row.seed for _, row in rows})
    tests_of_seed = {(row.seed, row.data_hash, row.n) for _, row in rows}
    if len(tests_of_seed) > len(seeds):
        return None
    model = np.zeros((len(rows), len(cells) + len(seeds)))
    for line, (method, row) in enumerate(rows):
        model[line, [method, len(cells) + seeds.index(row.seed)]] = 1
    values = np.array([row.value for _, row in rows])
    solution, _, rank, _ = np.linalg.lstsq(model, values, rcond=None)
    freedom = len(rows) - int(rank)
    if freedom < 1:
        return None
    return SeedVariance(float(2 * ((values - model @ solution) ** 2).sum() / freedom), freedom)


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
    half = float(stats.t.ppf(1 - ALPHA / 2, freedom)) * error
    return Tested(float(2 * stats.t.sf(abs(mean) / error, freedom)), (mean - half, mean + half))


def _sign_test(differences: np.ndarray) -> Tested:
    up, down = int((differences > 1e-12).sum()), int((differences < -1e-12).sum())
    return Tested(mcnemar(up, down, len(differences)).p_value)


def crossed_test(differences: np.ndarray, pooled: SeedVariance | None = None) -> Tested:
    """Test of mean 0 for ``differences`` (seeds, examples), both random and crossed; S, n >= 2.

    Variance of the mean: (MS_seeds + max(MS_examples - MS_residual, 0)) / (S n); degrees of freedom
    (MS_seeds + max(MS_examples - MS_residual, 0))^2 / (MS_seeds^2 / f), at most S n - 1 (Hillis, 2007).
    MS_seeds is n times the variance over seeds: ``pooled`` with its f, else that of ``differences``, f = S - 1.
    """
    seeds, examples = differences.shape
    mean = differences.mean()
    by_seed, by_example = differences.mean(1), differences.mean(0)
    residual = differences - by_seed[:, None] - by_example[None, :] + mean
    spread = _spread(by_seed, pooled)
    ms_seeds = examples * spread.of_difference
    ms_examples = seeds * by_example.var(ddof=1)
    ms_residual = (residual**2).sum() / ((seeds - 1) * (examples - 1))
    total = ms_seeds + max(ms_examples - ms_residual, 0.0)
    if total < 1e-12:
        return _sign_test(by_example)
    freedom = seeds * examples - 1.0
    if ms_seeds > 0:
        freedom = min(freedom, total**2 / (ms_seeds**2 / spread.freedom))
    return _t(float(mean), float(total / (seeds * examples)), float(freedom))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given (Holm, 1979): reject where the result is <= alpha."""
    values = np.asarray(p_values, dtype=float)
    ascending = np.argsort(values, kind="stable")
    adjusted = np.empty(len(values))
    factors = np.arange(len(values), 0, -1)
    adjusted[ascending] = np.minimum(1, np.maximum.accumulate(values[ascending] * factors))
    return [float(value) for value in adjusted]
