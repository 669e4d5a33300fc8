"""Frozen-feature protocols: equal to plain scikit-learn and to slow loops, chosen without the test split."""

import inspect
import json

import numpy as np
import pytest
from audio_sets import about
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from small_project import run, small_grid

from contrastbench.datasets.base import Split
from contrastbench.datasets.store import open_prepared, write_prepared
from contrastbench.errors import UserError
from contrastbench.evaluation import linear_probe as linear_probe_module
from contrastbench.evaluation.intervals import wilson
from contrastbench.evaluation.knn import fit_knn
from contrastbench.evaluation.labelled import Labelled, is_correct, sample_examples, sample_per_class
from contrastbench.evaluation.linear_probe import fit_linear, linear_probe, logistic_regressions, low_label_probe
from contrastbench.jobs import judged
from contrastbench.jobs.features_file import examples, labelled, read_features, write_features
from contrastbench.jobs.frozen import judge
from contrastbench.jobs.rows import RowWriter
from contrastbench.params.evaluation import ProbeParams
from contrastbench.pipeline.layout import Job
from contrastbench.pipeline.records import run_record
from contrastbench.results.protocols import Protocol
from contrastbench.results.rows import parse_row, rows_text, unpack_correct

GRID = (0.001, 0.01, 0.1, 1.0, 10.0)
CLASSES = 4


def blobs(count: int, seed: int, spread: float = 1.5, labels: np.ndarray | None = None) -> Labelled:
    """Overlapping clusters whose dimensions have very different scales and offsets; classes in turn, or ``labels``."""
    centres = np.random.default_rng(99).normal(size=(CLASSES, 12))
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES if labels is None else labels
    features = centres[labels] + spread * rng.normal(size=(count, 12))
    return Labelled((features * np.logspace(-2, 2, 12) + 5).astype(np.float32), labels)


TRAIN, VALIDATION, TEST = blobs(200, 0), blobs(80, 1), blobs(120, 2)


def plain_predictions(strength: float, queries: np.ndarray) -> np.ndarray:
    scaler = StandardScaler().fit(TRAIN.features)
    model = LogisticRegression(C=strength, max_iter=5000, tol=1e-8)
    model.fit(scaler.transform(TRAIN.features), TRAIN.labels)
    return model.predict(scaler.transform(queries))


def test_the_linear_probe_is_plain_logistic_regression_with_c_from_validation():
    scores = [np.mean(plain_predictions(c, VALIDATION.features) == VALIDATION.labels) for c in GRID]
    expected = GRID[int(np.argmax(scores))]  # the first of equals has the strongest regularisation
    result = linear_probe(TRAIN, VALIDATION, TEST, GRID)
    assert len(set(scores)) > 1, "all candidates alike: this data could not tell a wrong choice"
    assert result.strength == expected and result.validation_accuracy == pytest.approx(max(scores))
    verdict = plain_predictions(expected, TEST.features) == TEST.labels
    assert (result.correct == verdict).mean() > 0.99


def test_the_choice_does_not_see_the_test_split():
    shuffled = Labelled(TEST.features, np.random.default_rng(0).permutation(TEST.labels))
    honest, blind = (linear_probe(TRAIN, VALIDATION, test, GRID) for test in (TEST, shuffled))
    assert (honest.strength, honest.validation_accuracy) == (blind.strength, blind.validation_accuracy)
    assert blind.correct.mean() < 0.5 < honest.correct.mean()
    assert "test" not in inspect.signature(fit_linear).parameters


def test_the_choice_does_see_the_validation_split():
    """With validation labels that contradict the training labels, the weakest fit is the best."""
    wrong = Labelled(VALIDATION.features, (VALIDATION.labels + 1) % CLASSES)
    assert linear_probe(TRAIN, VALIDATION, TEST, GRID).strength != linear_probe(TRAIN, wrong, TEST, GRID).strength


def test_ties_go_to_the_stronger_regularisation_whatever_the_order_of_the_grid():
    apart = Labelled(np.repeat(np.eye(CLASSES, dtype=np.float32) * 100, 10, axis=0), np.repeat(np.arange(CLASSES), 10))
    assert linear_probe(apart, apart, apart, (10.0, 0.1, 1.0)).strength == 0.1


def test_a_scaled_and_shifted_representation_is_judged_alike():
    def moved(split: Labelled) -> Labelled:
        return Labelled(split.features * 7 - 3, split.labels)

    plain = linear_probe(TRAIN, VALIDATION, TEST, GRID)
    other = linear_probe(*(moved(split) for split in (TRAIN, VALIDATION, TEST)), GRID)
    assert plain.strength == other.strength and (plain.correct == other.correct).mean() > 0.98


def naive_knn(query: np.ndarray, k: int, temperature: float) -> int:
    similarity = [float(query @ x / np.linalg.norm(query) / np.linalg.norm(x)) for x in TRAIN.features.astype(float)]
    votes = np.zeros(CLASSES)
    for i in sorted(range(len(similarity)), key=lambda i: -similarity[i])[:k]:
        votes[TRAIN.labels[i]] += np.exp(similarity[i] / temperature)
    return int(votes.argmax())


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.1), (7, 0.05), (50, 0.5), (200, 0.1)])
def test_knn_equals_a_loop(k, temperature):
    ours = fit_knn(TRAIN, neighbours=k, temperature=temperature).predict(TEST.features)
    naive = [naive_knn(query, k, temperature) for query in TEST.features.astype(float)]
    assert (ours == naive).mean() > 0.99  # a tie may fall the other way in float32


def sklearns_knn(train: Labelled, k: int, temperature: float):
    """scikit-learn's classifier with the same votes."""
    from sklearn.neighbors import KNeighborsClassifier

    def votes(distance: np.ndarray) -> np.ndarray:
        return np.exp((distance.min(axis=1, keepdims=True) - distance) / temperature)

    model = KNeighborsClassifier(min(k, len(train.labels)), metric="cosine", algorithm="brute", weights=votes)
    return model.fit(train.features, train.labels)


@pytest.fixture(params=["whole", "kept blocks", "streamed blocks"])
def in_blocks(request, monkeypatch):
    """Blocks and batches of queries so small that there are many; kept between passes, or read in each."""
    if request.param != "whole":
        monkeypatch.setattr("contrastbench.evaluation.blocks.ROWS", 7)
        monkeypatch.setattr("contrastbench.evaluation.linear_probe.ROWS", 7)
        monkeypatch.setattr("contrastbench.evaluation.knn.QUERIES", 5)
    if request.param == "streamed blocks":
        monkeypatch.setattr("contrastbench.evaluation.blocks.KEPT", 0)


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.1), (7, 0.05), (50, 0.5), (500, 0.1)])
def test_knn_has_scikit_learns_votes(in_blocks, k, temperature):
    few = Labelled(TRAIN.features[:101].copy(), TRAIN.labels[:101] * 3 - 2)  # classes that are no positions
    few.features[9] = 0  # similar to nothing
    queries = np.concatenate([TEST.features, np.zeros((1, 12), np.float32)])
    ours, theirs = fit_knn(few, neighbours=k, temperature=temperature), sklearns_knn(few, k, temperature)
    assert ours.classes_.tolist() == theirs.classes_.tolist()
    if k < 101:  # to zeros all rows are alike: which ones vote is anybody's choice
        queries = queries[:-1]
    np.testing.assert_allclose(ours.predict_proba(queries), theirs.predict_proba(queries), atol=2e-5)
    np.testing.assert_array_equal(ours.predict(queries), theirs.predict(queries))


def test_equal_votes_go_to_the_first_class_and_one_class_takes_all(in_blocks):
    square = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], np.float32)
    tie = Labelled(square, np.array([9, 4, 4, 9]))  # each direction has both classes
    for model in (fit_knn(tie, neighbours=4, temperature=0.1), sklearns_knn(tie, 4, 0.1)):
        assert model.predict(square).tolist() == [4, 4, 4, 4]
    alone = fit_knn(Labelled(square, np.full(4, 7)), neighbours=3, temperature=0.1)
    assert alone.predict(square).tolist() == [7] * 4 and alone.predict_proba(square).tolist() == [[1.0]] * 4


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_mapped_features_are_judged_like_those_in_memory(in_blocks, tmp_path, kind):
    np.save(tmp_path / "train.npy", (TRAIN.features / 100).astype(kind))
    mapped = Labelled(np.load(tmp_path / "train.npy", mmap_mode="r"), TRAIN.labels)
    held = Labelled((TRAIN.features / 100).astype(kind).astype(np.float32), TRAIN.labels)
    test = Labelled(TEST.features / 100, TEST.labels)
    both = [fit_knn(each, neighbours=9, temperature=0.1).predict_proba(test.features) for each in (mapped, held)]
    np.testing.assert_array_equal(*both)
    both = [next(logistic_regressions(each, [1.0], "cpu")).predict_proba(test.features) for each in (mapped, held)]
    np.testing.assert_array_equal(*both)


@pytest.mark.parametrize("classes", [2, CLASSES])
def test_the_regression_is_scikit_learns(in_blocks, classes):
    """The same minimum at every strength, warm start and blocks or not, whatever the labels are called."""
    train = Labelled(TRAIN.features[TRAIN.labels < classes].copy(), TRAIN.labels[TRAIN.labels < classes] * 2 + 1)
    train.features[:, 3] = 0.3  # a feature that does not vary
    scaler = StandardScaler().fit(train.features)
    for strength, model in zip(GRID, logistic_regressions(train, GRID, "cpu"), strict=True):
        theirs = LogisticRegression(C=strength, max_iter=5000, tol=1e-8)
        theirs.fit(scaler.transform(train.features.astype(float)), train.labels)
        coefficients = np.column_stack([theirs.coef_, theirs.intercept_])
        np.testing.assert_allclose(model.weight.numpy(), coefficients, atol=0.02 * np.abs(coefficients).max())
        wanted = theirs.predict_proba(scaler.transform(TEST.features.astype(float)))
        np.testing.assert_allclose(model.predict_proba(TEST.features), wanted, atol=0.01)
        assert set(model.predict(TEST.features)) <= set(train.labels)


def test_a_regression_that_has_not_converged_says_so(monkeypatch, recwarn):
    list(logistic_regressions(TRAIN, GRID, "cpu"))
    assert not recwarn
    monkeypatch.setattr(linear_probe_module, "MAX_STEPS", 2)
    with pytest.warns(UserWarning, match="C = 10: not converged after 2 steps"):
        list(logistic_regressions(TRAIN, [10.0], "cpu"))


def test_knn_at_the_ends_of_the_temperature():
    """Near zero the nearest neighbour decides alone, without under- or overflow; at infinity all votes are equal."""
    from sklearn.neighbors import KNeighborsClassifier

    def plain(k: int) -> np.ndarray:
        model = KNeighborsClassifier(k, metric="cosine", algorithm="brute").fit(TRAIN.features, TRAIN.labels)
        return model.predict(TEST.features)

    cold = fit_knn(TRAIN, neighbours=50, temperature=1e-7).predict(TEST.features)
    np.testing.assert_array_equal(cold, plain(1))
    hot = fit_knn(TRAIN, neighbours=51, temperature=1e7).predict(TEST.features)
    assert (hot == plain(51)).mean() > 0.95  # even votes may fall either way
    assert (hot != cold).any()


def test_knn_with_more_neighbours_than_examples_takes_all():
    few = Labelled(TRAIN.features[:8], TRAIN.labels[:8])
    assert len(fit_knn(few, neighbours=200, temperature=0.1).predict(TEST.features)) == len(TEST.labels)


def test_low_label_draws_depend_on_seed_shots_and_draw_alone():
    """All methods of one seed see the same labels: other features, same positions."""

    def drawn(seed: int, shots: int, number: int) -> list[int]:
        return sample_per_class(
            TRAIN.labels, shots, np.random.default_rng([seed, shots, number]), setting="low"
        ).tolist()

    assert drawn(0, 5, 0) == drawn(0, 5, 0)
    assert len({tuple(drawn(seed, 5, number)) for seed in range(3) for number in range(3)}) == 9
    chosen = drawn(0, 5, 0)
    assert len(set(chosen)) == 20 and np.bincount(TRAIN.labels[chosen]).tolist() == [5] * CLASSES


def test_low_label_probe_equals_probes_on_its_draws():
    results = low_label_probe(TRAIN, VALIDATION, TEST, GRID, shots=5, draws=3, seed=4)
    assert len(results) == 3
    for number, result in enumerate(results):
        chosen = sample_per_class(TRAIN.labels, 5, np.random.default_rng([4, 5, number]), setting="low")
        few = Labelled(TRAIN.features[chosen], TRAIN.labels[chosen])
        expected = linear_probe(few, VALIDATION, TEST, GRID)
        np.testing.assert_array_equal(result.correct, expected.correct)
        assert result.strength == expected.strength
    full = linear_probe(TRAIN, VALIDATION, TEST, GRID)
    assert np.mean([r.correct.mean() for r in results]) < full.correct.mean()


def test_more_labels_than_there_are_is_one_line():
    with pytest.raises(UserError, match=r"^low: 900 labels per class asked for, class 0 has 50"):
        sample_per_class(TRAIN.labels, 900, np.random.default_rng(0), setting="low")


PIXELS = Job("unremix", "digits", "pixels", 0)


@pytest.fixture
def grid(tmp_path, monkeypatch):
    """A project folder with prepared digits."""
    monkeypatch.chdir(tmp_path)
    grid = small_grid(tmp_path, {"tracks": ["unremix"]})
    run(grid, "prepare", Job("", "digits"))
    return grid


@pytest.fixture
def digits(grid):
    return open_prepared(grid.layout.prepared("digits"))


def test_judge_writes_a_row_for_every_protocol(grid):
    params = ProbeParams(l2_grid=GRID, low_label_shots=(2, 5), low_label_draws=3, knn_neighbours=5, knn_temperature=0.1)
    rows = RowWriter(grid, "probe", Job("unremix", "digits", "pixels", 7), "data")
    rows.warnings = ["collapsed"]
    judge(rows, params, {"train": TRAIN, "validation": VALIDATION, "test": TEST}, "cpu")
    written = {row.protocol.name: row for row in rows.rows}
    assert set(written) == {"linear", "low-label-2", "low-label-5", "knn"} and len(rows.rows) == 4
    assert {row.protocol for row in rows.rows} == {
        Protocol(family="linear"), Protocol(family="knn"), *(Protocol(family="low-label", shots=n) for n in (2, 5))
    }  # fmt: skip
    expected = linear_probe(TRAIN, VALIDATION, TEST, GRID)
    linear = written["linear"]
    assert linear.value == pytest.approx(expected.correct.mean()) and linear.n == len(TEST.labels)
    np.testing.assert_array_equal(unpack_correct(linear.correct, linear.n), expected.correct)
    assert linear.detail == {"failed_checks": ["collapsed"], "C": expected.strength,
                             "validation_accuracy": expected.validation_accuracy}  # fmt: skip
    assert all(row.detail["failed_checks"] == ["collapsed"] for row in rows.rows)
    assert linear.interval == pytest.approx(wilson(int(expected.correct.sum()), 120))
    low = written["low-label-5"]
    assert len(low.detail["draws"]) == 3 and low.value == pytest.approx(np.mean(low.detail["draws"]))


def test_features_must_fit_their_labels(digits):
    with pytest.raises(UserError, match="test: 3 features for 400 labels; extract them again"):
        labelled({"test": np.zeros((3, 2))}, digits, "test")


def sound(clips: int, seed: int) -> Labelled:
    """Clips of one to three segments, each with its own noise."""
    rng = np.random.default_rng(seed)
    clip = np.repeat(np.arange(clips), rng.integers(1, 4, clips))
    whole = blobs(clips, seed, spread=1.0)
    return Labelled(
        whole.features[clip] + rng.normal(size=(len(clip), 12)).astype(np.float32), whole.labels[clip], clip
    )


def voted(model, split: Labelled) -> list[bool]:
    """The rule in words, clip by clip: the majority of segments, a tie by the sum of their probabilities."""
    right = []
    for number in range(split.clip.max() + 1):
        rows = split.clip == number
        votes, sums = np.zeros(CLASSES), model.predict_proba(split.features[rows]).sum(axis=0)
        for label in model.predict(split.features[rows]):
            votes[label] += 1
        leaders = np.flatnonzero(votes == votes.max())
        right.append(leaders[np.argmax(sums[leaders])] == split.labels[rows][0])
    return right


def test_a_clip_of_several_segments_is_judged_by_their_vote():
    train, validation, test = sound(60, 0), sound(40, 1), sound(80, 2)
    model, strength, accuracy = fit_linear(train, validation, GRID)
    assert accuracy == np.mean(voted(model, validation))
    result = linear_probe(train, validation, test, GRID)
    assert result.strength == strength and result.correct.tolist() == voted(model, test)
    assert len(result.correct) == 80 and 0.5 < result.correct.mean() < 1
    first = np.unique(test.clip, return_index=True)[1]
    assert result.correct.tolist() != (model.predict(test.features[first]) == test.labels[first]).tolist()
    knn = fit_knn(train, neighbours=10, temperature=0.1)
    assert is_correct(knn, test).tolist() == voted(knn, test)


def test_a_tie_of_segments_goes_to_the_sum_of_their_probabilities():
    """Not of another function of them: the softmax of these probabilities would decide differently."""

    class Fixed:
        classes_ = np.array([4, 7, 9])

        def predict_proba(self, features):
            return np.array([[0.50, 0.01, 0.49], [0.26, 0.73, 0.01]])

    split = Labelled(np.zeros((2, 1)), np.array([4, 4]), np.array([0, 0]))
    softmax = np.exp(Fixed().predict_proba(None))
    assert (softmax / softmax.sum(axis=1, keepdims=True)).sum(axis=0).argmax() == 1
    assert is_correct(Fixed(), split).tolist() == [True]


def test_labels_of_sound_are_counted_by_clip():
    train = sound(60, 0)
    few = sample_examples(train, 3, np.random.default_rng(1), setting="low")
    rows = {tuple(row): clip for row, clip in zip(train.features, train.clip, strict=True)}
    chosen = [rows[tuple(row)] for row in few.features]
    for clip in set(chosen):
        assert chosen.count(clip) == np.sum(train.clip == clip)  # a clip comes with all its segments
    labels = train.labels[np.searchsorted(train.clip, sorted(set(chosen)))]
    assert np.bincount(labels).tolist() == [3] * CLASSES


def test_clips_of_one_segment_and_images_are_examples_by_themselves(digits, tmp_path):
    features, y = {"test": np.zeros((5, 2), np.float32)}, np.array([0, 0, 1, 1, 1])
    for name, clip, expected in (("long", [0, 0, 1, 2, 2], [0, 0, 1, 2, 2]), ("short", [0, 1, 2, 3, 4], None)):
        split = Split(np.zeros((5, 4, 4), np.float16), y, {"clip": np.array(clip)})
        write_prepared(tmp_path / name, about(modality="spectrogram"), {"test": split}, "as made")
        found = examples(features, open_prepared(tmp_path / name), "test").clip
        assert (found if found is None else found.tolist()) == expected
    assert examples({"test": np.zeros((400, 2))}, digits, "test").clip is None


AGAIN = "run `contrastbench features unremix digits pixels 0 --preset small`"


def test_features_that_are_no_numbers_are_never_judged(grid, digits):
    bad = {"train": np.zeros((2, 2)), "test": np.array([[0, np.nan]])}
    with pytest.raises(UserError, match="the test features are not finite; the training run has diverged"):
        write_features(grid, PIXELS, digits, bad)
    assert not (grid.root / "runs").exists()
    with pytest.raises(UserError, match=rf"features.safetensors: no such file; {AGAIN} first"):
        read_features(grid, PIXELS, digits)


def test_neither_are_those_of_other_data(grid, monkeypatch):
    found = {
        "training_data": None,
        "open_prepared": None,
        "load_trained": None,
        "encode": {"test": np.full((2, 2), np.inf)},
    }
    for name, value in found.items():
        monkeypatch.setattr(judged, name, lambda *_, value=value: value)
    with pytest.raises(UserError, match="simclr 0: the test features are not finite"):
        judged.features_on(grid, Job("unremix", "mnist5k-to-digits", "simclr", 0), "cpu")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda content: content[: len(content) // 2], "SafetensorError"),
        (lambda content: b"", "SafetensorError"),
        (lambda content: b"text", "SafetensorError"),
        (lambda content: content.replace(b'"test"', b'"tset"'), "without the split test"),
    ],
)
def test_damaged_features_are_one_line(grid, digits, spoil, said):
    every = {split: np.full((9, 9), number, np.float32) for number, split in enumerate(("train", "validation", "test"))}
    write_features(grid, PIXELS, digits, every)
    found = read_features(grid, PIXELS, digits)
    assert not any(array.flags.owndata for array in found.values()), "mapped, not read"
    assert found.keys() == every.keys() and all(np.array_equal(found[split], every[split]) for split in every)
    path = grid.layout.run("features", PIXELS) / "features.safetensors"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(UserError) as caught:
        read_features(grid, PIXELS, digits)
    told = str(caught.value)
    assert told.startswith(f"{path}: not a readable file of features (") and said in told and "\n" not in told
    assert told.endswith(f"; delete it and {AGAIN}")


def test_features_of_other_data_are_refused(grid, digits):
    """The reference row has no weights: its features are of the data alone."""
    run(grid, "features", PIXELS)
    read_features(grid, PIXELS, digits)
    grey = Split(digits.x("train") // 2, digits.y("train"))
    write_prepared(grid.layout.prepared("digits"), digits.meta, dict.fromkeys(digits.meta.splits, grey), "as made")
    other = open_prepared(grid.layout.prepared("digits"))
    with pytest.raises(UserError, match=rf"safetensors: made from other data, weights or code than .*; {AGAIN}$"):
        read_features(grid, PIXELS, other)
    run(grid, "features", PIXELS)
    assert len(read_features(grid, PIXELS, other)["test"]) == len(grey.x)


@pytest.mark.parametrize(
    "text", ["", "{", "{}", "[]", '{"device": 1, "warnings": []}', '{"device": "cpu", "warnings": 1}']
)
def test_a_damaged_record_of_a_training_run_is_one_line(tmp_path, text):
    with pytest.raises(UserError, match=r"run.json: no such file; run the training first$"):
        run_record(tmp_path)
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match=r"run.json: not a readable record .*; delete it and run the training again$"):
        run_record(tmp_path)


def test_a_row_is_json_that_reads_back(grid):
    rows = RowWriter(grid, "probe", PIXELS, "data")
    rows.accuracy(Protocol(family="linear"), np.array([True, False, True]))
    (line,) = rows_text(rows.rows).splitlines()
    assert parse_row(line, "here") == rows.rows[0]
    keys = set(json.loads(line))
    assert keys >= {"schema", "track", "method", "dataset", "protocol", "metric", "seed", "value", "n", "preset",
                    "params_hash", "data_hash", "code_hash", "device", "wall_s", "peak_mb", "stage",
                    "base"}  # fmt: skip
    assert json.loads(line)["protocol"] == {"family": "linear"}, "parts that a protocol does not have are left out"
