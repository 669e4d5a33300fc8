"""Intervals of cells: against definitions written as loops, against the significance test, and by simulation."""

import math

import numpy as np
import pytest
from reporting_rows import loaded, row
from scipy import stats

from contrastbench.evaluation.intervals import wilson as wilson_of_counts
from contrastbench.evaluation.verdicts import attack_order
from contrastbench.reporting.cells import cells_of
from contrastbench.reporting.significance import compare_rows, crossed_test
from contrastbench.reporting.uncertainty import Spread, interval_of, spread_of, wilson
from contrastbench.results.rows import Row


def judged(images: np.ndarray, count: int, method: str = "simclr") -> list[Row]:
    """Rows of attacks from verdicts (seeds, images): each seed attacks the first ``count`` of its own order."""
    orders = [attack_order(images.shape[1], seed)[:count] for seed in range(len(images))]
    return [
        row(method, seed, correct=images[seed, order], drawn_from=images.shape[1]) for seed, order in enumerate(orders)
    ]


def variance_by_loops(verdicts: list[dict[int, float]], own_variance: float | None = None) -> tuple[float, float]:
    """Variance of the mean relative to p (1 - p), and its degrees of freedom, from {image: verdict} of each seed."""
    seeds, n = len(verdicts), sum(len(each) for each in verdicts) / len(verdicts)
    means = [sum(each.values()) / len(each) for each in verdicts]
    p = sum(means) / seeds
    q = p * (1 - p)
    between = sum((mean - p) ** 2 for mean in means) / (seeds - 1) / q if q else 0.0
    if own_variance is not None:
        between = max(between, own_variance)
    common = alike = 0.0
    for a in range(seeds):
        for b in range(seeds):
            if a != b:
                first, second = verdicts[a], verdicts[b]
                shared = first.keys() & second.keys()
                sizes = len(first), len(second)
                common += len(shared) / math.prod(sizes)
                alike += sum((first[i] - means[a]) * (second[i] - means[b]) for i in shared) / math.sqrt(
                    math.prod(size * (size - 1) for size in sizes)
                )
    common, alike = common / (seeds * (seeds - 1)), alike / (seeds * (seeds - 1))
    shared_variance = common * max((n * n * alike + 1) / (n * n * common * q + 1), 0)
    spread = sum(sum((v - m) ** 2 for v in each.values()) / len(each) for each, m in zip(verdicts, means, strict=True))
    within = (n * spread / seeds + 1) / (n * q + 1) / n
    variance = max(between / seeds + shared_variance, within / seeds)
    squares = stats.t.ppf(0.975, seeds - 1) ** 2 * between / seeds
    squares += stats.norm.ppf(0.975) ** 2 * (variance - between / seeds)
    return variance, math.sqrt(squares / variance)


@pytest.mark.parametrize("count", [10, 30, 40])
@pytest.mark.parametrize("rate", [0.05, 0.6])
def test_the_interval_is_its_definition(count, rate):
    """Seeds attack other images, and other numbers of them; the ends solve the equation of the score interval."""
    rng = np.random.default_rng(count)
    images = rng.random((3, 40)) < rate + rng.normal(0, 0.1, 40)
    seen = [{int(i): float(images[s, i]) for i in attack_order(40, s)[: count - s]} for s in range(3)]
    rows = [row(seed=s, correct=np.array(list(each.values())), drawn_from=40) for s, each in enumerate(seen)]
    variance, quantile = variance_by_loops(seen)
    mean = np.mean([each.value for each in rows])
    found = interval_of(rows)
    assert found is not None and 0 <= found[0] < found[1] <= 1
    for end in found:
        if 0 < end < 1:
            error = abs(mean - end) / math.sqrt(variance * end * (1 - end))
            assert error == pytest.approx(quantile, rel=1e-9)


def test_one_seed_has_wilsons_interval():
    for right, n in ((0, 16), (3, 16), (137, 250), (250, 250)):
        found = interval_of([row(correct=np.arange(n) < right)], Spread(0.5, 3))
        assert found == pytest.approx(wilson_of_counts(right, n), abs=1e-12)
        assert wilson(right / n, 1 / n, stats.norm.ppf(0.975)) == pytest.approx(wilson_of_counts(right, n), abs=1e-12)


@pytest.mark.parametrize("count", [250, 1000])
def test_it_agrees_with_the_test_of_a_cell_against_a_constant(count):
    """Near one half, where Wilson's interval is symmetric, it is the interval of the crossed test."""
    rng = np.random.default_rng(2)
    images = rng.normal(0, 1, (3, 1000)) + rng.normal(0, 1, 1000) + np.array([[0.0], [0.1], [-0.1]]) > 0
    rows = judged(images, count)
    differences = np.stack([images[s, attack_order(1000, s)[:count]] + 0.0 for s in range(3)])
    tested = crossed_test(differences, None, [attack_order(1000, s)[:count] for s in range(3)]).interval
    found = interval_of(rows)
    assert found is not None and tested is not None
    assert found == pytest.approx(tested, abs=0.1 * (tested[1] - tested[0]))


def test_where_nothing_failed_or_all_did_there_is_a_width():
    """All seeds judged the same images: no more than one seed's worth, as nothing says that they judge alike."""
    nothing = [row(seed=seed, correct=np.zeros(250)) for seed in range(3)]
    assert interval_of(nothing) == pytest.approx(wilson_of_counts(0, 250), abs=1e-12)
    everything = [row(seed=seed, correct=np.ones(250)) for seed in range(3)]
    assert interval_of(everything) == pytest.approx(wilson_of_counts(250, 250), abs=1e-12)
    apart = interval_of(judged(np.zeros((3, 100_000)), 250))
    assert apart == pytest.approx(wilson_of_counts(0, 750), abs=2e-4), "three times as many images"
    restless = interval_of(nothing, Spread(0.1, 6))
    assert restless is not None and restless[1] > 0.1, "another seed may be unlike these, as of the column's others"
    one, none = np.arange(250) < 1, np.zeros(250)
    for seeds in ([one, none, none], [one] * 3):
        found = interval_of([row(seed=seed, correct=each) for seed, each in enumerate(seeds)])
        assert found is not None and found[0] >= 0 and found[1] > wilson_of_counts(0, 250)[1] * 0.8


def test_what_all_seeds_judge_alike_counts_once():
    verdicts = np.arange(400) % 10 < 7
    same = interval_of([row(seed=seed, correct=verdicts) for seed in range(3)])
    assert same == pytest.approx(wilson_of_counts(280, 400), abs=2e-4)
    other = [row(seed=seed, correct=np.random.default_rng(seed).permutation(verdicts)) for seed in range(3)]
    found = interval_of(other, Spread(1 / 400, 1e9))
    assert found == pytest.approx(wilson_of_counts(840, 1200), abs=0.005), "independent verdicts count three times"


def test_draws_of_labels_do_not_count_as_more_examples():
    rng = np.random.default_rng(4)
    once = [rng.random(100) < 0.7 for _ in range(3)]
    plain = interval_of([row(seed=seed, correct=each) for seed, each in enumerate(once)])
    tiled = [row(seed=seed, correct=np.tile(each, 5), draws=[0.0] * 5) for seed, each in enumerate(once)]
    assert interval_of(tiled) == pytest.approx(plain)
    assert interval_of(tiled[:1]) == pytest.approx(wilson_of_counts(int(once[0].sum()), 100))
    drawn = rng.random((4, 100)) < np.array([[0.3], [0.5], [0.7], [0.9]])
    found = interval_of([row(correct=drawn.ravel(), draws=[0.0] * 4)])
    mean, of_means = drawn.mean(), drawn.mean(0).var()
    variance = (100 * of_means + 1) / (100 * mean * (1 - mean) + 1) / 100
    assert found == pytest.approx(wilson(mean, variance, stats.norm.ppf(0.975))), "of the means over draws"
    one_draw = wilson(mean, 1 / 100, stats.norm.ppf(0.975))
    assert found is not None and one_draw[0] < found[0] < found[1] < one_draw[1]


def test_values_without_verdicts_rest_on_the_rows_own_intervals():
    values, half = [0.60, 0.62, 0.67], 0.03
    rows = [row(seed=s, value=v).model_copy(update={"interval": (v - half, v + half)}) for s, v in enumerate(values)]
    mean, error = np.mean(values), np.std(values, ddof=1) / math.sqrt(3)
    found = interval_of(rows)
    assert found is not None
    for end in found:
        size = abs(mean - end) / math.sqrt(error**2 * end * (1 - end) / (mean * (1 - mean)))
        assert size == pytest.approx(stats.t.ppf(0.975, 2), rel=1e-9)
    calm = [each.model_copy(update={"value": 0.62, "interval": (0.59, 0.65)}) for each in rows]
    low, high = interval_of(calm) or (0, 0)
    assert (high - low) / 2 == pytest.approx(0.03 / math.sqrt(3), rel=0.01), "no less than sampling alone"
    assert interval_of(rows[:1]) == rows[0].interval and interval_of([row(value=0.3)]) is None
    assert interval_of([row(seed=seed, value=1.0) for seed in range(3)]) is None


def test_distances_have_a_symmetric_interval_that_does_not_pass_zero():
    values = [1.1, 1.3, 1.5]
    rows = [row(seed=s, value=v, metric="median-distance", n=32) for s, v in enumerate(values)]
    half = stats.t.ppf(0.975, 2) * np.std(values, ddof=1) / math.sqrt(3)
    assert interval_of(rows) == pytest.approx((1.3 - half, 1.3 + half))
    wide = [row(seed=s, value=v, metric="median-distance", n=32) for s, v in enumerate((0.0, 0.1, 1.5))]
    assert (interval_of(wide) or (1, 1))[0] == 0
    told = [each.model_copy(update={"value": 1.3, "interval": (1.1, 1.5)}) for each in rows]
    low, high = interval_of(told) or (0, 0)
    assert high - low == pytest.approx(0.4 / math.sqrt(3))
    all_images = [each.model_copy(update={"detail": {"drawn_from": 32}}) for each in told]
    low, high = interval_of(all_images) or (0, 0)
    assert high - low == pytest.approx(0.4), "the same images in all seeds: sampling does not average out"


def test_pooling_is_the_analysis_of_variance():
    rng = np.random.default_rng(7)
    values = rng.uniform(0.2, 0.8, (5, 1)) + rng.normal(0, 0.02, (5, 3)) + rng.normal(0, 0.03, 3)
    cells = [[row(f"m{m}", s, v) for s, v in enumerate(line)] for m, line in enumerate(values)]
    means = [sum(line) / 3 for line in values]
    scaled = [
        [(v - mean) / math.sqrt(mean * (1 - mean)) for v in line] for line, mean in zip(values, means, strict=True)
    ]
    of_seed = [sum(line[s] for line in scaled) / 5 for s in range(3)]
    seeds = 5 * sum(mean**2 for mean in of_seed)
    rest = sum((line[s] - of_seed[s]) ** 2 for line in scaled for s in range(3))
    spread = spread_of(cells)
    assert spread is not None
    assert spread.relative == pytest.approx((seeds + rest) / 10)
    assert spread.freedom == pytest.approx((seeds + rest) ** 2 / (seeds**2 / 2 + rest**2 / 8))
    assert 2 < spread.freedom < 10
    zero = [row("m9", seed, 0.0) for seed in range(3)]
    lone = [row("m8", 1, 0.3)]
    assert spread_of([*cells, zero, lone]) == spread, "neither tells how much seeds differ"
    assert spread_of([zero, lone]) is None
    assert spread_of([*cells, [row("m7", seed, 0.5, n=40) for seed in range(3)]]) is None, "other examples"
    alone = spread_of(cells[:1])
    assert alone is not None and (alone.relative, alone.freedom) == pytest.approx((np.var(scaled[0], ddof=1), 2))


def test_a_column_tells_how_much_seeds_differ_but_never_less_than_the_cell_itself():
    calm = [row("dcl", seed, value) for seed, value in enumerate((0.70, 0.71, 0.72))]
    wild = [row("hcl", seed, value) for seed, value in enumerate((0.50, 0.70, 0.90))]
    failed = [row("mochi", seed, value, failed_checks=["x"]) for seed, value in enumerate((0.1, 0.5, 0.9))]
    other = [row("simclr", seed, value, n=40) for seed, value in enumerate((0.1, 0.5, 0.9))]
    cells = {key.method: cell for key, cell in cells_of(loaded([*calm, *wild, *failed, *other])).items()}
    pooled = spread_of([calm, wild])
    assert cells["dcl"].interval == interval_of(calm, pooled) != interval_of(calm)
    assert cells["hcl"].interval == interval_of(wild, pooled)
    assert pooled is not None
    own = np.var([0.5, 0.7, 0.9], ddof=1) / (0.7 * 0.3)
    assert cells["hcl"].interval == interval_of(wild, Spread(own, pooled.freedom)), "the cell's own is larger"
    assert cells["simclr"].interval == interval_of(other), "it shares no column with others"


def attacked(rng: np.random.Generator, rates: np.ndarray, images: int) -> np.ndarray:
    """Verdicts (methods, seeds, images) whose difficulty methods and seeds share; ``rates`` (methods, seeds)."""
    difficulty = rng.normal(0, 0.6, images) + rng.normal(0, 0.7, (len(rates), 1, images))
    noise = rng.normal(0, 0.4, (*rates.shape, images))
    return (difficulty + noise) / math.hypot(0.6, 0.7, 0.4) < stats.norm.ppf(rates)[..., None]


@pytest.mark.parametrize(("rate", "deviation"), [(0.02, 0.0), (0.3, 0.03), (0.8, 0.03)])
def test_the_interval_holds_the_truth_as_often_as_it_says(rate, deviation):
    """Three seeds, a quarter of the images each; six methods that differ, as in a column."""
    rng = np.random.default_rng(8)
    held = 0
    for _ in range(200):
        rates = np.array([rate, 0.5, 0.9, 0.2, 0.7, 0.3])[:, None] + rng.normal(0, deviation, (6, 3))
        cells = [judged(each, 100, f"m{m}") for m, each in enumerate(attacked(rng, rates, 400))]
        low, high = interval_of(cells[0], spread_of(cells)) or (0, 0)
        held += low <= rate <= high
    assert held / 200 >= 0.92


def test_images_are_matched_by_what_they_are_and_not_by_their_place():
    """Each seed attacks the images in its own order: matched by place, all of 300 images looked like 900."""
    rng = np.random.default_rng(9)
    by_place = by_image = 0
    for _ in range(300):
        cells = [judged(each, 300, f"m{m}") for m, each in enumerate(attacked(rng, np.full((2, 3), 0.6), 300))]
        by_image += (compare_rows(*cells).p_value or 0) < 0.05
        silent = [[each.model_copy(update={"detail": {}}) for each in cell] for cell in cells]
        by_place += (compare_rows(*silent).p_value or 0) < 0.05
    assert by_place / 300 > 0.12 and by_image / 300 < 0.09


def test_the_order_of_images_does_not_change_the_test_nor_the_interval():
    images = np.random.default_rng(10).random((2, 3, 80)) < 0.6
    ordered = [[row(f"m{m}", s, correct=images[m, s]) for s in range(3)] for m in range(2)]
    shuffled = [judged(each, 80, f"m{m}") for m, each in enumerate(images)]
    assert compare_rows(*shuffled).p_value == pytest.approx(compare_rows(*ordered).p_value)
    assert interval_of(shuffled[0]) == pytest.approx(interval_of(ordered[0]))


def test_seeds_without_a_common_image_are_tested_as_samples_of_their_own():
    differences = np.random.default_rng(11).normal(0.1, 1, (4, 50))
    tested = crossed_test(differences, None, [np.arange(50) + 50 * seed for seed in range(4)])
    expected = stats.ttest_1samp(differences.mean(1), 0)
    assert tested.p_value == pytest.approx(expected.pvalue)
    assert tested.interval == pytest.approx(tuple(expected.confidence_interval()))
