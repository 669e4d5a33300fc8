import math

import numpy as np
import pytest
from reporting_rows import row, verdicts
from scipy import stats

from contrastbench.reporting.significance import compare_rows, crossed_test, holm, mcnemar
from contrastbench.reporting.tables import BEST, tables_of


def crossed_by_loops(differences: np.ndarray) -> float:
    """The test of Hillis (2007) from sums of squares, one number at a time."""
    seeds, examples = differences.shape
    grand = sum(differences[s, e] for s in range(seeds) for e in range(examples)) / (seeds * examples)
    of_seed = [sum(differences[s, e] for e in range(examples)) / examples for s in range(seeds)]
    of_example = [sum(differences[s, e] for s in range(seeds)) / seeds for e in range(examples)]
    ms_seed = examples * sum((value - grand) ** 2 for value in of_seed) / (seeds - 1)
    ms_example = seeds * sum((value - grand) ** 2 for value in of_example) / (examples - 1)
    ms_rest = sum(
        (differences[s, e] - of_seed[s] - of_example[e] + grand) ** 2 for s in range(seeds) for e in range(examples)
    ) / ((seeds - 1) * (examples - 1))
    numerator = ms_seed + max(ms_example - ms_rest, 0)
    freedom = min(numerator**2 / (ms_seed**2 / (seeds - 1)), seeds * examples - 1)
    return 2 * stats.t.sf(abs(grand) / math.sqrt(numerator / (seeds * examples)), freedom)


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (0, 7), (3, 9), (8, 8), (40, 61)])
def test_mcnemar_is_the_binomial_sum(only_first, only_second):
    total = only_first + only_second
    tail = sum(math.comb(total, k) for k in range(min(only_first, only_second) + 1)) / 2**total
    assert mcnemar(only_first, only_second) == pytest.approx(min(1, 2 * tail))


def test_one_seed_equals_the_exact_permutation_of_pairs():
    rng = np.random.default_rng(3)
    first, second = rng.random(14) < 0.8, rng.random(14) < 0.4
    paired = compare_rows([row(correct=first)], [row(correct=second)])
    reference = stats.permutation_test(
        (first.astype(float), second.astype(float)),
        lambda a, b, axis: (a - b).mean(axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    )
    assert paired.p_value == pytest.approx(reference.pvalue)
    assert paired.difference == pytest.approx(first.mean() - second.mean())
    assert "McNemar" in paired.test


def test_crossed_test_equals_a_loop():
    rng = np.random.default_rng(0)
    for seeds, examples in ((2, 5), (3, 40), (5, 12)):
        differences = rng.integers(-1, 2, (seeds, examples)) + 0.0
        assert crossed_test(differences) == pytest.approx(crossed_by_loops(differences))


def test_many_seeds_and_no_example_effect_approach_the_t_test_over_seeds():
    rng = np.random.default_rng(1)
    seed_effect = rng.normal(0.02, 0.05, (30, 1))
    differences = np.repeat(seed_effect, 2000, axis=1)
    assert crossed_test(differences) == pytest.approx(stats.ttest_1samp(seed_effect[:, 0], 0).pvalue, rel=1e-6)


def test_no_seed_effect_approaches_the_paired_test_over_examples():
    rng = np.random.default_rng(2)
    differences = np.repeat(rng.normal(0.05, 0.5, (1, 300)), 3, axis=0)
    assert crossed_test(differences) == pytest.approx(stats.ttest_1samp(differences[0], 0).pvalue, rel=0.05)


@pytest.mark.parametrize(("of_seed", "of_example"), [(0.0, 0.0), (0.0, 0.5), (0.03, 0.3), (0.1, 0.1)])
def test_crossed_test_keeps_its_level(of_seed, of_example):
    rng = np.random.default_rng(4)
    rejected = 0
    for _ in range(1000):
        differences = (
            rng.normal(0, of_seed, (3, 1)) + rng.normal(0, of_example, (1, 200)) + rng.normal(0, 0.4, (3, 200))
        )
        rejected += crossed_test(differences) < 0.05
    assert rejected / 1000 < 0.08  # measured over three seeds: 0.041 to 0.077


def test_pooling_seeds_as_if_independent_would_not_keep_it():
    """Why the crossed test is used: McNemar over pooled seeds takes a lucky seed for a better method."""
    rng = np.random.default_rng(5)
    pooled = crossed = 0
    for _ in range(300):
        shift = rng.normal(0, 0.04, (3, 1))
        first, second = rng.random((3, 400)) < 0.7 + shift, rng.random((3, 400)) < 0.7
        differences = first.astype(float) - second
        pooled += mcnemar(int((differences > 0).sum()), int((differences < 0).sum())) < 0.05
        crossed += crossed_test(differences) < 0.05
    assert pooled / 300 > 0.12
    assert crossed / 300 < 0.08


def test_a_real_difference_is_found():
    first = [row(seed=seed, correct=verdicts(0.93, seed=seed)) for seed in range(3)]
    second = [row(seed=seed, correct=verdicts(0.88, seed=seed + 50)) for seed in range(3)]
    paired = compare_rows(first, second)
    assert paired.difference == pytest.approx(0.05, abs=0.01)
    assert paired.p_value is not None and paired.p_value < 0.001


def test_identical_rows_differ_by_nothing():
    same = [row(seed=seed, correct=verdicts(0.8, seed=seed)) for seed in range(3)]
    assert compare_rows(same, same).p_value == 1.0
    assert compare_rows(same, same).difference == 0.0


def test_without_verdicts_it_is_the_paired_t_test_over_seeds():
    left, right = [0.51, 0.55, 0.52, 0.58], [0.50, 0.51, 0.52, 0.53]
    paired = compare_rows(
        [row(seed=seed, value=value) for seed, value in enumerate(left)],
        [row(seed=seed, value=value) for seed, value in enumerate(right)],
    )
    assert paired.p_value == pytest.approx(stats.ttest_rel(left, right).pvalue)


def test_only_common_seeds_are_compared():
    paired = compare_rows(
        [row(seed=seed, value=value) for seed, value in ((0, 0.9), (1, 0.8), (2, 0.7))],
        [row(seed=seed, value=value) for seed, value in ((1, 0.6), (2, 0.4), (3, 0.1))],
    )
    assert paired.difference == pytest.approx((0.2 + 0.3) / 2)
    with pytest.raises(ValueError, match="no seed in common"):
        compare_rows([row(seed=0)], [row(seed=1)])


def test_draws_of_labels_on_the_same_examples_are_not_counted_as_more_examples():
    once = verdicts(0.72, 100), verdicts(0.68, 100, seed=9)
    repeated = [row(correct=np.tile(item, 5), draws=[0.0] * 5) for item in once]
    single = compare_rows([row(correct=once[0])], [row(correct=once[1])])
    tiled = compare_rows(repeated[:1], repeated[1:])
    assert tiled.p_value == pytest.approx(single.p_value)


def test_what_cannot_be_tested_says_why():
    assert compare_rows([row(value=0.1)], [row(value=0.2)]).p_value is None
    other = compare_rows([row(data_hash="x")], [row(data_hash="y")])
    assert (other.p_value, other.test) == (None, "other test data")


def test_holm_is_its_definition():
    p_values = [0.01, 0.04, 0.03, 0.005, 0.8]
    ascending = sorted(p_values)
    expected = {
        value: max(min(1, (len(p_values) - j) * ascending[j]) for j in range(ascending.index(value) + 1))
        for value in p_values
    }
    assert holm(p_values) == pytest.approx([expected[value] for value in p_values])
    assert holm([]) == []


def test_equal_methods_are_seldom_called_best():
    rng = np.random.default_rng(6)
    bold = 0
    for _ in range(60):
        rows = [
            row(method, seed, correct=rng.random(200) < 0.8)
            for method in ("simclr", "dcl", "hcl", "unremix")
            for seed in range(3)
        ]
        (table,) = tables_of(rows)
        bold += BEST in table.marks.values()
    assert bold <= 3
