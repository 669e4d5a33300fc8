"""Episodes and their classifiers against naive loops, scikit-learn, and chance."""

import time
from collections import Counter
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid

from contrastbench.errors import UserError
from contrastbench.evaluation.clips import Clips, by_clip, pool
from contrastbench.evaluation.few_shot import (
    Episodes,
    few_shot_accuracies,
    fit_logistic,
    sample_episodes,
)
from contrastbench.evaluation.intervals import mean_interval
from contrastbench.evaluation.vote import vote

L2 = 0.01


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def toy(classes: int = 8, per_class: int = 12, dim: int = 16, signal: float = 1.0, seed: int = 0) -> Clips:
    """One segment per clip, classes around random centres."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    centres = rng.normal(size=(classes, dim))
    features = (signal * centres[labels] + rng.normal(size=(len(labels), dim))).astype(np.float32)
    return Clips(features, np.arange(len(labels))[:, None], labels)


def draw(clips: Clips, count: int = 60, way: int = 5, shots: int = 3, queries: int = 2, seed: int = 1) -> Episodes:
    generator = seeded(seed)
    return sample_episodes(clips.labels, way=way, shots=shots, queries=queries, count=count, generator=generator)


def accuracies(clips: Clips, episodes: Episodes, classifier: str, mean: np.ndarray | None = None) -> np.ndarray:
    base = np.zeros(clips.features.shape[1], np.float32) if mean is None else mean
    return few_shot_accuracies(clips, episodes, classifier, base_mean=base, l2=L2, generator=seeded(5))


def test_episodes_draw_distinct_classes_and_disjoint_clips() -> None:
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([3, 5, 8, 11, 20, 31], [5, 6, 9, 5, 30, 7]))
    episodes = sample_episodes(labels, way=4, shots=3, queries=2, count=1203, generator=seeded())
    assert episodes.support.shape == (1203, 4, 3) and episodes.query.shape == (1203, 4, 2)
    both = torch.cat([episodes.support, episodes.query], dim=2)
    classes = torch.from_numpy(labels)[both]
    assert (classes == classes[..., :1]).all()
    assert all(len(set(row)) == 4 for row in classes[..., 0].tolist())
    assert all(len(set(row)) == 20 for row in both.flatten(1).tolist())


def test_every_class_and_clip_is_drawn_equally_often() -> None:
    labels = np.repeat(np.arange(6), [5, 5, 5, 5, 20, 20])
    episodes = sample_episodes(labels, way=3, shots=1, queries=1, count=20_000, generator=seeded(2))
    counts = np.bincount(episodes.support.flatten().numpy(), minlength=len(labels)) / 20_000
    expected = 0.5 / np.bincount(labels)[labels]
    assert np.abs(counts / expected - 1).max() < 0.13  # 5 standard deviations of the rarest, 500 draws

    again = sample_episodes(labels, way=3, shots=1, queries=1, count=20_000, generator=seeded(2))
    assert torch.equal(again.query, episodes.query)


def test_no_query_shares_a_source_with_its_own_support() -> None:
    """Few sources, of which some lie in several classes: half of all episodes would share one."""
    rng = np.random.default_rng(1)
    labels, sources = np.repeat(np.arange(4), 30), rng.integers(0, 15, 120)
    draws = {"way": 3, "shots": 5, "queries": 2, "count": 1203}

    def shared(episodes: Episodes) -> np.ndarray:
        support, query = sources[episodes.support.numpy()], sources[episodes.query.numpy()]
        return (support[..., :, None] == query[..., None, :]).any(axis=(2, 3))

    assert 0.3 < shared(sample_episodes(labels, **draws, generator=seeded())).mean() < 0.7
    episodes = sample_episodes(labels, sources=sources, **draws, generator=seeded())
    assert not shared(episodes).any()
    both = torch.cat([episodes.support, episodes.query], dim=2)
    assert (torch.from_numpy(labels)[both] == torch.from_numpy(labels)[both[..., :1]]).all()
    assert all(len(set(row)) == 21 for row in both.flatten(1).tolist())


@pytest.mark.parametrize("queries", [1, 2])
def test_queries_are_drawn_uniformly_and_support_uniformly_from_what_is_left(queries: int) -> None:
    """Every pair (queries, support) as often as a count of all of them says."""
    sources, shots, count = np.array([7, 7, 3, 5, 4, 9]), 2, 40_000
    every = list(combinations(range(6), queries))
    expected: dict[tuple, Fraction] = {}
    for query in every:
        left = [clip for clip in range(6) if sources[clip] not in sources[list(query)]]
        possible = list(combinations(left, shots))
        expected.update({(query, support): Fraction(1, len(every) * len(possible)) for support in possible})
    assert sum(expected.values()) == 1
    labels = np.zeros(6, dtype=np.int64)
    drawn = sample_episodes(
        labels, sources=sources, way=1, shots=shots, queries=queries, count=count, generator=seeded(3)
    )
    pairs = zip(drawn.query[:, 0].tolist(), drawn.support[:, 0].tolist(), strict=True)
    found = Counter((tuple(sorted(query)), tuple(sorted(support))) for query, support in pairs)
    assert found.keys() == expected.keys()
    for pair, share in expected.items():
        deviation = (count * share * (1 - share)) ** 0.5
        assert abs(found[pair] - count * share) < 4.5 * deviation


def test_refuses_a_class_whose_clips_come_from_too_few_sources() -> None:
    labels, sources = np.repeat([2, 6], 6), np.array([0, 1, 2, 3, 4, 5, 8, 8, 8, 8, 9, 9])
    draws = {"way": 2, "queries": 1, "count": 50, "generator": seeded()}
    with pytest.raises(UserError, match="shots = 3, queries = 1: class 6 may have only 2 of its 6 clips left"):
        sample_episodes(labels, sources=sources, shots=3, **draws)
    assert sample_episodes(labels, sources=sources, shots=2, **draws).support.shape == (50, 2, 2)


@pytest.mark.parametrize(
    ("way", "shots", "message"),
    [(9, 1, "way = 9: there are only 8 classes"), (5, 12, "class 0 may have only 11 of its 12 clips left")],
)
def test_refuses_what_cannot_be_drawn(way: int, shots: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        draw(toy(), way=way, shots=shots, queries=1)


@pytest.mark.parametrize("shots", [1, 4])
@pytest.mark.parametrize("classifier", ["centroid", "cl2n", "linear"])
def test_equals_a_loop_over_episodes_with_scikit_learn(classifier: str, shots: int) -> None:
    clips = toy(signal=0.6)
    mean = clips.features.mean(0) + 0.3
    episodes = draw(clips, shots=shots)
    expected = []
    for support, query in zip(episodes.support.numpy(), episodes.query.numpy(), strict=True):
        x, q = clips.features[support.ravel()], clips.features[query.ravel()]
        y, truth = np.repeat(np.arange(5), shots), np.repeat(np.arange(5), 2)
        if classifier == "cl2n":
            x, q = x - mean, q - mean
        if classifier != "centroid":
            x, q = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, q))
        if classifier == "linear":
            model = LogisticRegression(C=1 / (L2 * len(y)), fit_intercept=False, tol=1e-8, max_iter=5000)
        else:
            model = NearestCentroid()
        expected.append((model.fit(x, y).predict(q) == truth).mean())
    assert 0.3 < np.mean(expected) < 0.95
    assert np.allclose(accuracies(clips, episodes, classifier, mean), expected)


@pytest.mark.parametrize("l2", [0.3, 0.01, 0.001])
def test_logistic_regression_equals_scikit_learn(l2: float) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(7, 15, 24))
    x /= np.linalg.norm(x, axis=2, keepdims=True)
    y = np.repeat(np.arange(5), 3)
    found = fit_logistic(torch.from_numpy(x), torch.from_numpy(y), 5, l2).numpy()
    for rows, weights in zip(x, found, strict=True):
        model = LogisticRegression(C=1 / (l2 * 15), fit_intercept=False, tol=1e-10, max_iter=10_000).fit(rows, y)
        assert np.abs(weights - model.coef_.T).max() < 2e-3 * np.abs(model.coef_).max()


@pytest.mark.parametrize("classifier", ["centroid", "cl2n", "linear"])
def test_random_features_give_chance_and_separable_ones_everything(classifier: str) -> None:
    """Noise: 4 seeds, 2,000 episodes over 3,000 clips each; every interval, widened to 99.9 %, holds 1/5."""
    for seed in range(4):
        noise = toy(classes=20, per_class=150, signal=0.0, seed=seed)
        mean, (low, high) = mean_interval(accuracies(noise, draw(noise, count=2000, seed=seed), classifier))
        assert abs(mean - 0.2) < (high - low) / 2 * 3.3 / 1.96
        assert (high - low) / 2 < 0.01
    clear = toy(signal=30.0)
    assert accuracies(clear, draw(clear), classifier).min() == 1.0


def test_ten_thousand_episodes_take_seconds() -> None:
    """192-dimensional features of ESC-50's size: the specification's protocol within 10 s of processor time."""
    clips = toy(classes=10, per_class=40, dim=192)
    begun = time.process_time()
    for shots in (1, 5):
        episodes = draw(clips, count=10_000, shots=shots, queries=1)
        for classifier in ("centroid", "cl2n", "linear"):
            assert len(accuracies(clips, episodes, classifier)) == 10_000
    assert time.process_time() - begun < 10


def test_segments_vote() -> None:
    scores = torch.tensor([[[3.0, 0, 0], [0, 1.0, 0], [0, 1.0, 0]], [[0, 0, 9.0], [0, 1.0, 0], [0, 1.0, 0]]])
    everything = torch.ones(2, 3, dtype=torch.bool)
    assert vote(scores, everything).tolist() == [1, 1]
    first_two = torch.tensor([[True, True, False]] * 2)
    assert vote(scores, first_two).tolist() == [0, 2]  # a tie: the more confident segment decides


def test_clips_of_several_segments_are_judged_by_all_of_them() -> None:
    """Each clip has one misleading segment among three: votes are right where single segments are not."""
    clips = toy(classes=6, per_class=10, signal=30.0)
    clip = np.repeat(np.arange(60), 3)
    features = clips.features[clip].copy()
    features[::3] = np.random.default_rng(0).permutation(features[::3])
    labels = clips.labels[clip]
    by_vote = by_clip(features, clip, labels)
    assert by_vote.segments.shape == (60, 3) and np.array_equal(by_vote.labels, clips.labels)
    single = Clips(features, np.arange(180)[:, None], labels)
    generous = {"count": 300, "shots": 5, "queries": 2}
    assert accuracies(by_vote, draw(by_vote, **generous), "cl2n").mean() > 0.97
    assert accuracies(single, draw(single, **generous), "cl2n").mean() < 0.9


def test_ragged_clips_and_pooling() -> None:
    one = by_clip(np.zeros((3, 2), np.float32), np.array([0, 0, 1]), np.array([4, 4, 5]))
    two = by_clip(np.ones((4, 2), np.float32), np.array([0, 1, 1, 1]), np.array([6, 7, 7, 7]))
    both = pool([one, two])
    assert both.segments.tolist() == [[0, 1, -1], [2, -1, -1], [3, -1, -1], [4, 5, 6]]
    assert both.labels.tolist() == [4, 5, 6, 7]
    features, labels = both.take(np.array([0, 3])).segment_rows()
    assert features.tolist() == [[0, 0], [0, 0], [1, 1], [1, 1], [1, 1]] and labels.tolist() == [4, 4, 7, 7, 7]
