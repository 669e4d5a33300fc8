"""Verdicts by test example: which examples a row judged, and how alike several seeds judge the same ones."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from contrastbench.evaluation.verdicts import attack_order
from contrastbench.results.rows import Row, unpack_correct


def draws_of(row: Row) -> np.ndarray | None:
    """(draws, n) bool: the verdicts on n test examples for each draw of labels; None where the row has none."""
    draws = len(row.detail.get("draws", [None]))
    if row.correct is None or row.n % draws:
        return None
    return unpack_correct(row.correct, row.n).reshape(draws, -1)


def examples_of(row: Row, count: int) -> np.ndarray:
    """(count,) positions, in some fixed order of the test set, of the examples that the row's verdicts are about.

    Attacks take the first images of an order that each seed has of its own (``drawn_from`` is how many there are);
    everything else judges all test examples in one order. So do rows that do not say: they match by position.
    """
    return _order(row.detail["drawn_from"], row.seed)[:count] if "drawn_from" in row.detail else np.arange(count)


@lru_cache(maxsize=64)
def _order(count: int, seed: int) -> np.ndarray:
    return attack_order(count, seed)


def covariance_of_means(values: Sequence[np.ndarray], examples: Sequence[np.ndarray]) -> float:
    """Covariance of two seeds' means, mean over all pairs of seeds, that comes from examples which both have judged.

    ``values`` and ``examples`` hold an array (n,) for each seed. Of seeds that judged the same n examples it is
    (MS_examples - MS_residual) / (S n) of the two-way analysis of variance; of seeds with none in common it is 0.
    """
    return _common([(each - each.mean()) / (len(each) * max(len(each) - 1, 1)) ** 0.5 for each in values], examples)


def shared_examples(examples: Sequence[np.ndarray]) -> float:
    """The covariance of two seeds' means, mean over all pairs, if examples alone decided and each had variance 1."""
    return _common([np.full(len(each), 1 / len(each)) for each in examples], examples)


def _common(weighted: Sequence[np.ndarray], examples: Sequence[np.ndarray]) -> float:
    """Mean over ordered pairs of different seeds of the sum, over common examples, of the products of the weights."""
    seeds = len(weighted)
    width = 1 + max(int(each.max()) for each in examples)
    matrix = np.zeros(seeds * width)
    matrix[np.concatenate([seed * width + each for seed, each in enumerate(examples)])] = np.concatenate(weighted)
    return float((matrix.reshape(seeds, width).sum(0) ** 2).sum() - (matrix**2).sum()) / (seeds * (seeds - 1))
