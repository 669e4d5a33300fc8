"""Is a difference between two methods (or two commits) more than chance? Paired over seeds and test examples.

With verdicts on every example and several seeds, both are random: another seed would train another encoder,
another test set would hold other images. The variances are those of studies in which several readers judge the same
cases, two-way crossed random effects (Hillis, 2007, Statistics in Medicine 26:596-619, doi 10.1002/sim.2532). What
seeds and what examples leave uncertain each get a margin from Student's t with their own degrees of freedom, and the
squares of the margins add up (Zou and Donner, 2008, Statistics in Medicine 27:1693-1702, doi 10.1002/sim.3095).
Hillis's degrees of freedom, one number for both, find too much with few seeds: benchmarks/level.py measures how much.
With one seed it is the exact McNemar test over examples, which says nothing about seeds. Without verdicts it is the
paired t-test over seeds.

Each test gives an interval of the difference that agrees with it: it leaves out 0 just where p <= 5 %.

Three seeds say little about how much one pair of methods varies. Where several methods were measured on the same
thing, :func:`pooled_seeds` estimates that variance from all of them, as Hillis does for more than two tests.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize, special, stats

from contrastbench.reporting.judged import covariance_of_means, draws_of, examples_of
from contrastbench.results.rows import Row

ALPHA = 0.05
POWER = 0.8
MOST_SEEDS = 1000  # that :func:`seeds_needed` tries
FURTHEST = 37.0  # normal deviations: beyond them a tail is no number of double precision
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
class Error:
    """What a mean difference over ``seeds`` seeds leaves uncertain.

    of_seeds     variance between the seeds' differences, with ``freedom`` degrees of freedom: over S seeds, 1 / S of it
    of_examples  variance from the examples that the seeds share, with ``example_freedom``: more seeds lessen it by
                 nothing
    """

    of_seeds: float
    freedom: float
    seeds: int
    of_examples: float = 0.0
    example_freedom: float = 1.0

    def margin(self, tail: float) -> float:
        """How far the mean is beyond the truth, to one side, with the probability ``tail``, at most 1/2."""
        of_seeds = float(special.stdtrit(self.freedom, tail)) * (self.of_seeds / self.seeds) ** 0.5
        return math.hypot(of_seeds, float(special.stdtrit(self.example_freedom, tail)) * self.of_examples**0.5)

    def p_value(self, distance: float) -> float:
        """Two-sided, of a mean that lies ``distance`` from what it is tested against; half of it is one-sided."""
        distance = abs(distance)
        if not self.of_examples or not self.of_seeds:
            variance = self.of_seeds / self.seeds + self.of_examples
            freedom = self.freedom if self.of_seeds else self.example_freedom
            return float(2 * special.stdtr(freedom, -distance / variance**0.5))
        beyond = self.margin(float(special.ndtr(-FURTHEST))) < distance
        return 0.0 if beyond else float(2 * special.ndtr(-self._deviations(distance)))

    def _deviations(self, distance: float) -> float:
        """The normal deviation that has the tail at which the margin is ``distance``."""
        return float(optimize.brentq(lambda z: self.margin(float(special.ndtr(-z))) - distance, 0.0, FURTHEST))

    def over(self, seeds: int) -> "Error":
        """The same over another number of seeds, of as many methods."""
        return replace(self, seeds=seeds, freedom=self.freedom * (seeds - 1) / (self.seeds - 1))


@dataclass(frozen=True)
class Paired:
    """A paired comparison of two groups of rows.

    difference  mean over common seeds of first minus second
    p_value     two-sided; None where no test is possible
    test        name of the test, or why there is none
    interval    of the difference, 95 %, for this comparison alone; None where there is no test, or where it is the
                sign test because nothing varies over seeds: signs do not tell how large a difference is
    error       what is uncertain of it; None with one seed, which says nothing about others, and where there is no
                interval
    """

    difference: float
    p_value: float | None
    test: str
    interval: Interval | None = None
    error: Error | None = None


@dataclass(frozen=True)
class Tested:
    """The answer of one test: its two-sided p-value, and the 95 % interval and the error where it gives them."""

    p_value: float
    interval: Interval | None = None
    error: Error | None = None


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
    return Paired(difference, found.p_value, name, found.interval, found.error if len(pairs) > 1 else None)


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
    more is called different too easily, the others too seldom (docs/results/README.md gives measured rates).
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
    return _tested(float(differences.mean()), Error(spread.of_difference, spread.freedom, len(differences)))


def _tested(mean: float, error: Error) -> Tested:
    half = error.margin(ALPHA / 2)
    return Tested(error.p_value(mean), (mean - half, mean + half), error)


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
    (:func:`covariance_of_means`), with n - 1. The margin is the root of t_f^2 A / S + t_{n - 1}^2 C.
    """
    seeds, count = differences.shape
    spread = _spread(differences.mean(1), pooled)
    shared = covariance_of_means(list(differences), [np.arange(count)] * seeds if examples is None else examples)
    error = Error(spread.of_difference, spread.freedom, seeds, max(shared, 0.0), count - 1)
    if (error.of_seeds / seeds + error.of_examples) * seeds * count < 1e-12:
        return _sign_test(differences.mean(0))
    return _tested(float(differences.mean()), error)


def equivalence(difference: float, error: Error, margin: float) -> float:
    """p-value of two one-sided tests (TOST): <= 5 % where the 90 % interval lies within -``margin`` to ``margin``.

    Schuirmann, 1987, doi 10.1007/BF01068419.
    """
    inside = margin - abs(difference)
    return error.p_value(inside) / 2 if inside > 0 else 1.0


def seeds_needed(error: Error, effect: float, level: float = ALPHA) -> int | None:
    """How many seeds find a true difference of ``effect`` with 80 % probability, in a two-sided test at ``level``.

    The fewest whose margins for the level and for the power add up to no more than ``effect``, with the variances of
    ``error``. None where ``MOST_SEEDS`` would not do, because the examples alone leave too much uncertain.
    """

    def enough(seeds: int) -> bool:
        over = error.over(seeds)
        return over.margin(level / 2) + over.margin(1 - POWER) <= effect

    if not enough(MOST_SEEDS):
        return None
    return next(seeds for seeds in range(2, MOST_SEEDS + 1) if enough(seeds))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given (Holm, 1979): reject where the result is <= alpha."""
    values = np.asarray(p_values, dtype=float)
    ascending = np.argsort(values, kind="stable")
    adjusted = np.empty(len(values))
    factors = np.arange(len(values), 0, -1)
    adjusted[ascending] = np.minimum(1, np.maximum.accumulate(values[ascending] * factors))
    return [float(value) for value in adjusted]
