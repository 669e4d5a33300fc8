"""Stratified folds of graphs: what is chosen inside them, the published SVM, the kernel, and both stages of folds."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audio_sets import about
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.svm import SVC
from small_project import judged, run, small_grid

from contrastbench.datasets.base import Split
from contrastbench.datasets.graph_store import StoredGraphs
from contrastbench.datasets.store import open_prepared, write_prepared
from contrastbench.errors import UserError
from contrastbench.evaluation.folds import FoldVerdicts, stratified_folds, svm, svm_verdicts
from contrastbench.evaluation.labelled import Labelled
from contrastbench.evaluation.linear_probe import linear_probe
from contrastbench.evaluation.wl_kernel import wl_kernel
from contrastbench.methods.graphcl import GraphCL
from contrastbench.params.graphs import FoldsParams
from contrastbench.params.root import load
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.pipeline.records import trained_record
from contrastbench.results.rows import Row, unpack_correct
from contrastbench.stages import cross_validate as cross_validate_stage
from contrastbench.stages import inductive as inductive_stage
from contrastbench.stages.inductive import equal_batches
from contrastbench.training.record import TrainingLog

ABOUT = about("toy", "graph", ("benign", "toxic"))
STRENGTHS = (0.01, 1.0, 100.0)


def folds_of(outer: int = 5, inner: int = 3, strengths: Sequence[float] = STRENGTHS) -> FoldsParams:
    return FoldsParams(outer=outer, inner=inner, strengths=tuple(strengths), wl_iterations=2)


def toy(count: int, seed: int, signal: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, 6) float32 of unequal scale, and labels of which a third is 1, in random order."""
    draw = np.random.default_rng(seed)
    labels = draw.permutation(np.arange(count) % 3 == 0).astype(np.int64)
    features = draw.normal(size=(count, 6)) + signal * labels[:, None]
    return (features * [1, 1, 5, 5, 20, 20]).astype(np.float32), labels


def predicted(correct: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.where(correct, labels, 1 - labels)


def test_folds_are_disjoint_complete_stratified_and_a_seed_s_own() -> None:
    labels = toy(61, 0)[1]
    folds = stratified_folds(labels, folds_of(), 3, ABOUT)
    assert len(folds) == 5
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(61))
    for fold in folds:
        assert sorted([*fold.train, *fold.test]) == list(range(61))
        assert abs(labels[fold.test].sum() - labels.sum() / 5) < 1
    again, other = (stratified_folds(labels, folds_of(), seed, ABOUT) for seed in (3, 4))
    assert all(np.array_equal(a.test, b.test) for a, b in zip(folds, again, strict=True))
    assert not all(np.array_equal(a.test, b.test) for a, b in zip(folds, other, strict=True))


def test_validation_is_a_stratified_part_of_the_training_part() -> None:
    features, labels = toy(60, 1)
    features[:, 0] = np.arange(60)
    for fold in stratified_folds(labels, folds_of(), 0, ABOUT):
        train, validation, test = fold.parts(Labelled(features, labels), 3)
        whole, tested = fold.whole(Labelled(features, labels))
        rows = [part.features[:, 0].astype(int).tolist() for part in (train, validation, test)]
        assert sorted(rows[0] + rows[1]) == fold.train.tolist() and rows[2] == fold.test.tolist()
        assert (len(rows[1]), validation.labels.sum()) in {(16, 5), (16, 6), (17, 6)}, "a third, of either class"
        assert whole.features[:, 0].tolist() == fold.train.tolist() and tested.features[:, 0].tolist() == rows[2]
        for part in (train, validation, test, whole, tested):
            assert np.array_equal(part.labels, labels[part.features[:, 0].astype(int)])


@pytest.mark.parametrize("inner", [3, 9])
@pytest.mark.parametrize("kernel", ["rbf", "precomputed"])
def test_svm_is_scikit_learn_s_grid_search_in_a_plain_loop(inner: int, kernel: str) -> None:
    """To the last digit, where equal accuracies leave a choice (features are noise) and where they do not."""
    for signal in (0.0, 0.7):
        x, labels = toy(50, 2, signal)
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        x = unit @ unit.T if kernel == "precomputed" else x
        shuffled = StratifiedKFold(inner, shuffle=True, random_state=7)
        chosen, correct, accuracies = [], np.zeros(50, bool), []
        for train, test in StratifiedKFold(5, shuffle=True, random_state=7).split(x, labels):
            search = GridSearchCV(SVC(kernel=kernel), {"C": [*STRENGTHS]}, cv=shuffled, scoring="accuracy")
            columns = train if kernel == "precomputed" else slice(None)
            search.fit(x[train][:, columns], labels[train])
            chosen.append(search.best_params_["C"])
            correct[test] = search.predict(x[test][:, columns]) == labels[test]
            accuracies.append(correct[test].mean())
        params = folds_of(inner=inner, strengths=STRENGTHS[::-1])
        found = svm_verdicts(x, labels, stratified_folds(labels, params, 7, ABOUT), params, kernel=kernel)  # type: ignore[arg-type]
        assert found.strengths == chosen
        assert np.array_equal(found.correct, correct)
        assert found.accuracies == accuracies
        assert found.detail == {
            "folds": 5,
            "fold_mean": np.mean(accuracies),
            "fold_accuracies": accuracies,
            "fold_C": chosen,
        }


def test_nothing_in_a_test_part_decides_anything() -> None:
    """Labels of the test part turned over, and the features of all but one of its graphs replaced."""
    features, labels = toy(90, 3)
    params = folds_of()
    for fold in stratified_folds(labels, params, 0, ABOUT):
        turned, replaced = labels.copy(), features.copy()
        turned[fold.test] = 1 - labels[fold.test]
        replaced[fold.test[1:]] += 1000
        before, after, beside = (
            svm(x, y, fold, params) for x, y in ((features, labels), (features, turned), (replaced, labels))
        )
        assert before.strength == after.strength == beside.strength
        assert before.validation_accuracy == after.validation_accuracy == beside.validation_accuracy
        assert np.array_equal(predicted(before.correct, labels[fold.test]), predicted(after.correct, turned[fold.test]))
        assert before.correct[0] == beside.correct[0]
        probes = [
            linear_probe(*fold.parts(Labelled(x, y), 3), STRENGTHS)
            for x, y in ((features, labels), (features, turned), (replaced, labels))
        ]
        assert len({(probe.strength, probe.validation_accuracy) for probe in probes}) == 1
        assert np.array_equal(probes[0].correct, ~probes[1].correct)


def test_verdicts_are_in_the_order_of_the_graphs() -> None:
    """Two graphs look like the other class: they are those that are told wrongly, whatever fold they are in."""
    labels = toy(60, 5)[1]
    looks = labels.copy()
    looks[[7, 40]] = 1 - looks[[7, 40]]
    features = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32) * 0.1 + 3 * looks[:, None]
    params = folds_of()
    for seed in range(3):
        folds = stratified_folds(labels, params, seed, ABOUT)
        assert np.flatnonzero(~svm_verdicts(features, labels, folds, params).correct).tolist() == [7, 40]
        tested = np.sort(np.concatenate([fold.test for fold in folds[:2]]))
        some = svm_verdicts(features, labels, folds[:2], params)
        assert tested[~some.correct].tolist() == [number for number in (7, 40) if number in tested]
        assert len(some.accuracies) == 2


@pytest.mark.parametrize(
    ("counts", "outer", "inner", "message"),
    [
        ((20, 4), 5, 2, "folds.outer = 5: class 'toxic' of toy has 4 graphs; at most 4"),
        ((1, 20), 5, 2, "folds.outer = 5: class 'benign' of toy has 1 graph; too few for any folds"),
        ((20, 5), 5, 5, "folds.inner = 5: class 'toxic' of toy has 4 graphs in the training part of a fold; at most 4"),
        ((20, 7), 5, 6, "folds.inner = 6: class 'toxic' of toy has 5 graphs in the training part of a fold; at most 5"),
        (
            (2, 8),
            2,
            2,
            "folds.inner = 2: class 'benign' of toy has 1 graph in the training part of a fold; too few",
        ),
        ((0, 8), 2, 2, "toy: all graphs are of class 'toxic': nothing to tell apart"),
    ],
)
def test_too_few_graphs_for_so_many_folds(counts: tuple[int, int], outer: int, inner: int, message: str) -> None:
    labels = np.repeat([0, 1], counts)
    with pytest.raises(UserError) as problem:
        stratified_folds(labels, folds_of(outer, inner), 0, ABOUT)
    assert str(problem.value).startswith(message)
    assert "\n" not in str(problem.value)


def test_as_many_folds_as_the_message_names_work() -> None:
    for labels, outer, inner in ((np.repeat([0, 1], (20, 4)), 4, 3), (np.repeat([0, 1], (20, 7)), 5, 5)):
        params = folds_of(outer, inner)
        features = np.random.default_rng(0).normal(size=(len(labels), 3))
        with np.errstate(all="raise"):
            found = svm_verdicts(features, labels, stratified_folds(labels, params, 0, ABOUT), params)
        assert len(found.correct) == len(labels)


# The kernel


def stored(graphs: list[tuple[list[int], list[tuple[int, int]]]]) -> StoredGraphs:
    """Graphs from their node labels and undirected edges."""
    columns = columns_of(graphs)
    return StoredGraphs(columns["x"], columns["offsets"], columns["edges"], columns["edge_offsets"])


def columns_of(graphs: list[tuple[list[int], list[tuple[int, int]]]]) -> dict[str, np.ndarray]:
    both = [[*edges, *((b, a) for a, b in edges)] for _, edges in graphs]
    return {
        "x": np.array([label for labels, _ in graphs for label in labels], np.int32),
        "offsets": np.cumsum([0, *(len(labels) for labels, _ in graphs)], dtype=np.int64),
        "edges": np.array([edge for edges in both for edge in edges], np.int32).reshape(-1, 2),
        "edge_offsets": np.cumsum([0, *map(len, both)], dtype=np.int64),
    }


def random_graphs(count: int, seed: int, kinds: int = 3) -> list[tuple[list[int], list[tuple[int, int]]]]:
    """Graphs of 1 to 8 nodes; among them ones without edges, and nodes without."""
    draw = np.random.default_rng(seed)
    graphs: list[tuple[list[int], list[tuple[int, int]]]] = [([1], []), ([0, 0, 2], [])]
    for _ in range(count - 2):
        nodes = int(draw.integers(1, 9))
        pairs = [(a, b) for a in range(nodes) for b in range(a) if draw.uniform() < 0.3]
        graphs.append((draw.integers(0, kinds, nodes).tolist(), pairs))
    return graphs


@pytest.mark.parametrize("iterations", [1, 3])
def test_kernel_counts_the_subtrees_that_two_graphs_share(iterations: int) -> None:
    """Against a loop in which a label is written out: a node's own, and its neighbours', in order."""
    graphs = random_graphs(14, 0)
    histograms = []
    for labels, edges in graphs:
        names = [str(label) for label in labels]
        counts = Counter((0, name) for name in names)
        for step in range(1, iterations + 1):
            around: list[list[str]] = [[] for _ in names]
            for a, b in edges:
                around[a].append(names[b])
                around[b].append(names[a])
            names = [f"({name}: {' '.join(sorted(near))})" for name, near in zip(names, around, strict=True)]
            counts.update((step, name) for name in names)
        histograms.append(counts)
    dots = np.array([[sum(a[key] * b[key] for key in a) for b in histograms] for a in histograms], float)
    expected = dots / np.sqrt(np.outer(dots.diagonal(), dots.diagonal()))
    found = wl_kernel(stored(graphs), iterations)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert 0.01 < np.mean(expected == 0) < 0.5, "some graphs have nothing in common"


# The stages

GRAPHS = {
    "tracks": ["graphs"],
    "graphs": {
        "seeds": [0, 1],
        "methods": ["histogram", "wl-kernel", "random", "graphcl"],
        "encoder": {"layers": 2, "width": 4},
        "training": {"graphcl": {"epochs": 2, "batch_size": 16, "checkpoint_every_steps": 1, "log_every_steps": 1}},
        "batches": {"mutag": 11},  # of all 33; of 22 in two folds, as of all, a loader makes batches of 16 and less
        "folds": {"outer": 3, "inner": 2, "strengths": [0.1, 10.0], "wl_iterations": 2},
        "inductive": {},
        "probe": {"l2_grid": [0.1, 1.0], "low_label_shots": [2], "low_label_draws": 2, "knn_neighbours": 3},
    },
}
COUNT = 33


def rings_and_stars() -> Split:
    """Two classes of graphs of 4 to 9 nodes, every third one with an edge or a label more, in random order."""
    draw = np.random.default_rng(0)
    labels, graphs = draw.permutation(np.arange(COUNT) % 2), []
    for number, label in enumerate(labels):
        nodes = int(draw.integers(4, 10))
        edges = [(node, (node + 1) % nodes) for node in range(nodes)] if label else [(0, k) for k in range(1, nodes)]
        graphs.append((draw.integers(0, 2 + (number % 3 == 0), nodes).tolist(), edges))
    columns = columns_of(graphs)
    return Split(columns.pop("x"), labels.astype(np.int64), columns)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with prepared graphs, encoders of two methods trained on them, and all features."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        grid = small_grid(folder, GRAPHS)
        write_prepared(
            grid.layout.prepared("mutag"),
            about("mutag", "graph", ("star", "ring")),
            {"train": rings_and_stars()},
            "as made",
        )
        for method in ("histogram", "random", "graphcl"):
            if method != "histogram":
                run(grid, "pretrain", job(method))
            run(grid, "features", job(method))
    return folder


@pytest.fixture
def grid(project: Path, monkeypatch: pytest.MonkeyPatch) -> Grid:
    monkeypatch.chdir(project)
    return Grid("small", project)


def job(method: str, seed: int = 0) -> Job:
    return Job("graphs", "mutag", method, seed)


def verdicts(row: Row) -> np.ndarray:
    assert row.correct is not None
    return unpack_correct(row.correct, row.n)


@pytest.mark.parametrize("method", ["histogram", "graphcl"])
def test_cross_validate_judges_every_graph_by_every_protocol(grid: Grid, method: str) -> None:
    found = judged(grid, "cross_validate", job(method))
    assert sorted(found) == ["fold-knn", "fold-linear", "fold-low-label-2", "fold-svm"]
    assert {name: row.n for name, row in found.items()} == dict.fromkeys(found, COUNT) | {"fold-low-label-2": 2 * COUNT}
    assert all(row.metric == "top1" and row.value == verdicts(row).mean() for row in found.values())
    assert all(row.detail["folds"] == 3 for row in found.values())
    assert found["fold-svm"].detail["fold_C"] and set(found["fold-svm"].detail["fold_C"]) <= {0.1, 10.0}
    draws = verdicts(found["fold-low-label-2"]).reshape(2, COUNT)
    assert found["fold-low-label-2"].detail["draws"] == draws.mean(axis=1).tolist()
    assert not np.array_equal(*draws), "other labels in every draw"


def test_rows_are_the_protocols_on_the_features(grid: Grid) -> None:
    """By the functions that have tests of their own; nearest neighbours by hand."""
    data = open_prepared(grid.data_folder("graphs", "mutag"))
    labels, params = np.asarray(data.y("train")), grid.track("graphs").folds  # type: ignore[attr-defined]
    features = cross_validate_stage.read_features(grid, job("graphcl"), data)["train"]
    folds = stratified_folds(labels, params, 0, data.meta)
    found = judged(grid, "cross_validate", job("graphcl"))
    assert np.array_equal(verdicts(found["fold-svm"]), svm_verdicts(features, labels, folds, params).correct)
    probes = [linear_probe(*fold.parts(Labelled(features, labels), 2), (0.1, 1.0)) for fold in folds]
    assert np.array_equal(verdicts(found["fold-linear"]), FoldVerdicts.of(folds, probes).correct)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    nearest = np.zeros(COUNT, bool)
    for fold in folds:
        similarity = unit[fold.test] @ unit[fold.train].T
        near = np.argsort(-similarity, axis=1)[:, :3]
        weight = np.exp(np.take_along_axis(similarity, near, axis=1) / 0.1)
        ones = (weight * labels[fold.train][near]).sum(axis=1) / weight.sum(axis=1)
        nearest[fold.test] = (ones > 0.5) == labels[fold.test]
    assert np.array_equal(verdicts(found["fold-knn"]), nearest)


def test_the_kernel_is_judged_by_the_svm_alone_and_computed_once(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(graphs: StoredGraphs, iterations: int) -> np.ndarray:
        calls.append(iterations)
        return wl_kernel(graphs, iterations)

    monkeypatch.setattr(cross_validate_stage, "wl_kernel", counted)
    first, second = (judged(grid, "cross_validate", job("wl-kernel", seed)) for seed in (0, 1))
    assert list(first) == list(second) == ["fold-svm"]
    assert calls == [2]
    assert first["fold-svm"].n == COUNT and first["fold-svm"].value > 0.8
    assert first["fold-svm"].correct != second["fold-svm"].correct, "folds are a seed's own"
    data = open_prepared(grid.data_folder("graphs", "mutag"))
    labels, params = np.asarray(data.y("train")), grid.track("graphs").folds  # type: ignore[attr-defined]
    folds = stratified_folds(labels, params, 1, data.meta)
    kernel = wl_kernel(StoredGraphs.of(data, "train"), 2)
    expected = svm_verdicts(kernel, labels, folds, params, kernel="precomputed")
    assert np.array_equal(verdicts(second["fold-svm"]), expected.correct)
    assert second["fold-svm"].detail == expected.detail


def test_inductive_encoders_that_are_not_trained_are_the_same_in_every_fold(grid: Grid) -> None:
    whole, found = (judged(grid, stage, job("random")) for stage in ("cross_validate", "inductive"))
    assert sorted(found) == ["inductive-linear", "inductive-svm"]
    for name in ("svm", "linear"):
        mine, its = found[f"inductive-{name}"], whole[f"fold-{name}"]
        assert (mine.value, mine.correct, mine.n, mine.detail) == (its.value, its.correct, its.n, its.detail)


def test_inductive_encoders_never_see_the_test_part(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    """What each training reads are its fold's graphs, renumbered; none is the encoder that saw all."""
    seen: list[set[bytes]] = []
    sizes = []

    def spy(method, examples, params, **kwargs):  # type: ignore[no-untyped-def]
        packed = [examples.x[np.array([number])] for number in range(len(examples.x))]
        seen.append({graph.labels.tobytes() + graph.edges.tobytes() for graph in packed})
        sizes.append((len(examples.x), len(examples.y), params.batch_size))
        return trained(method, examples, params, **kwargs)

    trained = inductive_stage.train
    monkeypatch.setattr(inductive_stage, "train", spy)
    found = judged(grid, "inductive", job("graphcl"))
    data = open_prepared(grid.data_folder("graphs", "mutag"))
    graphs, labels = StoredGraphs.of(data, "train"), np.asarray(data.y("train"))
    folds = stratified_folds(labels, grid.track("graphs").folds, 0, data.meta)  # type: ignore[attr-defined]
    content = [graphs[np.array([number])] for number in range(COUNT)]
    names = np.array([graph.labels.tobytes() + graph.edges.tobytes() for graph in content], object)
    assert seen == [set(names[fold.train]) for fold in folds]
    assert sizes == [(22, 22, 11)] * 3
    assert found["inductive-svm"].n == COUNT
    assert not grid.layout.run("checkpoints", job("graphcl")).joinpath("inductive").exists()


def test_a_killed_inductive_run_continues(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in the second fold, after two of its four steps: no step is done again, and rows are the same."""
    expected = judged(grid, "inductive", job("graphcl"))
    step, steps = GraphCL.training_step, []

    def killed(*given: Any) -> Any:
        steps.append(given)
        if len(steps) == 7:
            raise KeyboardInterrupt
        return step(*given)

    monkeypatch.setattr(GraphCL, "training_step", killed)
    with pytest.raises(KeyboardInterrupt):
        run(grid, "inductive", job("graphcl"))
    found = judged(grid, "inductive", job("graphcl"))
    assert len(steps) == 7 + 2 + 4
    assert {name: (row.value, row.correct, row.detail) for name, row in found.items()} == {
        name: (row.value, row.correct, row.detail) for name, row in expected.items()
    }


def test_rows_name_the_warnings_and_the_device_of_their_own_trainings(
    grid: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained_record(grid, job("graphcl")) | {"warnings": ["of the whole"], "device": "another"}
    monkeypatch.setattr("contrastbench.jobs.rows.trained_record", lambda *given: whole)
    logs = iter(TrainingLog(warnings=warnings) for warnings in ([], ["collapsed"], []))
    monkeypatch.setattr(inductive_stage, "train", lambda *given, **named: next(logs))
    for row in judged(grid, "inductive", job("graphcl")).values():
        assert row.detail["failed_checks"] == ["fold 1: collapsed"]
        assert row.device == "cpu"


def test_batches_of_a_training_part_are_equal_and_as_many_as_published() -> None:
    params = load().graphs.training.graphcl
    for size, count, expected in ((94, 169, 84), (128, 169, 84), (124, 3699, 123), (128, 20, 20), (10, 30, 10)):
        batch = equal_batches(params.model_copy(update={"batch_size": size}), count).batch_size
        assert batch == expected
        assert count // batch == -(-count // size), "as many as a loader that keeps the rest"
        assert count - batch * (count // batch) < count // batch
