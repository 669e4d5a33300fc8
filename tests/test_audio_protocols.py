"""The stages ``few_shot`` and ``low_shot`` on the reference row ``pixels``, from spectrograms to rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audio_sets import about, noise, prepared, sound_split
from small_project import judged, run, small_grid
from typer.testing import CliRunner

from contrastbench.cli import app
from contrastbench.datasets.base import Split
from contrastbench.datasets.store import open_prepared, write_prepared
from contrastbench.errors import UserError
from contrastbench.evaluation.clips import Clips
from contrastbench.evaluation.few_shot import Episodes, few_shot_accuracies, sample_episodes
from contrastbench.evaluation.low_shot import low_shot
from contrastbench.evaluation.scaling import fit_scaling
from contrastbench.jobs import episodes as episodes_module
from contrastbench.jobs.episodes import drawn_from
from contrastbench.jobs.judged import features_on
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.results.protocols import Protocol
from contrastbench.results.rows import unpack_correct
from contrastbench.stages.low_shot import folds

OWN, OTHER = "instruments", "esc50"  # trained on the one, judged on both; the arrays are made by the tests
JOB = Job("uamix", OWN, "pixels", 3)
ON_OTHER = Job("uamix", f"{OWN}-to-{OTHER}", "pixels", 3)
FEW = {
    "datasets": {OWN: [OWN, OTHER]},
    "way": 3,
    "shots": [1, 2],
    "queries": 1,
    "episodes": 200,
    "features": "raw",
    "class_of": {OWN: "group"},
    "classifiers": ["centroid", "cl2n", "linear"],
    "l2": 0.01,
}
LOW = {"datasets": {OWN: [OWN, OTHER]}, "shots": [1, 3], "draws": 2, "centres": ["training", "row"], "strength": 4000.0}
FRONT_END = {"frames": 16, "mels": 16, "segments": 2}
GRID = {
    "tracks": ["uamix"],
    "uamix": {
        "methods": ["pixels"],
        "seeds": [3],
        "ablation": [],
        "few_shot": FEW,
        "low_shot": LOW,
        "front_end": FRONT_END,
    },
}
CLASSES = 6


def spectrogram_split(clips_per_class: int, segments: int, seed: int, **columns: int) -> Split:
    """Six classes, told apart by which mel bin is loud; every clip has ``segments`` segments."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(CLASSES), clips_per_class)
    clip = np.repeat(np.arange(len(y)), segments)
    x = rng.normal(size=(len(clip), 8, 12)) * 0.5
    x[np.arange(len(clip)), :, y[clip]] += 1.0
    facts = {name: np.full(len(clip), value) for name, value in columns.items()}
    group = 100 * seed + y[clip] * 2 + clip % 2  # two groups a class, none in two splits
    return Split(x.astype(np.float16), y[clip], {"clip": clip, "group": group, **facts})


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Grid:
    monkeypatch.chdir(tmp_path)
    grid = small_grid(tmp_path, GRID)
    names = ("train", "validation", "test")
    own = {name: spectrogram_split(8, 1, seed) for seed, name in enumerate(names, start=1)}
    other = {name: spectrogram_split(6, 3, seed, fold=seed) for seed, name in enumerate(names, start=1)}
    for split in other.values():
        assert split.y is not None
        split.columns["role"] = np.array([0, 0, 1, 2, 2, 2])[split.y]
    for name, splits in ((OWN, own), (OTHER, other)):
        facts = about(name, classes=tuple("abcdef"))
        write_prepared(grid.layout.spectrograms("uamix", name), facts, splits, "as made")
    run(grid, "features", JOB)
    return grid


def changed(grid: Grid, section: str, changes: dict) -> Grid:
    """The same project, after an edit of one section."""
    track = GRID["uamix"]
    return small_grid(grid.root, GRID | {"uamix": track | {section: track[section] | changes}})


def test_few_shot_rows(grid: Grid) -> None:
    found = judged(grid, "few_shot", JOB)
    assert sorted(found) == [
        f"few-shot-3-way-{shots}-shot-{name}" for shots in (1, 2) for name in ("centroid", "cl2n", "linear")
    ]
    assert {row.protocol for row in found.values()} == {
        Protocol(family="few-shot", way=3, shots=shots, classifier=name)
        for shots in (1, 2)
        for name in ("centroid", "cl2n", "linear")
    }
    for row in found.values():
        assert row.n == 200 and row.interval is not None and row.interval[0] < row.value < row.interval[1]
        assert row.detail["classes"] == 12  # groups, as class_of says, of the test split alone
    # Two groups of a class sound the same: between chance (1/3) and certainty.
    assert 0.5 < found["few-shot-3-way-2-shot-cl2n"].value < 1


def test_few_shot_on_another_data_set_uses_its_novel_classes(grid: Grid) -> None:
    found = judged(grid, "few_shot", ON_OTHER)
    row = found["few-shot-3-way-2-shot-linear"]
    assert row.dataset == "instruments-to-esc50"
    assert row.detail["classes"] == 3 and row.detail["clips"] == 3 * 6 * 3
    assert row.value > 0.95
    assert row.data_hash == open_prepared(grid.layout.spectrograms("uamix", OTHER)).meta.hash
    arrays, data = features_on(grid, ON_OTHER, "cpu")
    novel, base, sources = drawn_from(arrays, data, "y", "novel", seen=False)
    assert set(novel.labels) == {3, 4, 5} and set(base.labels) == {0, 1}
    assert novel.segments.shape[1] == 3
    expected = [100 * seed + y * 2 + clip % 2 for seed in (1, 2, 3) for y in (3, 4, 5) for clip in range(6)]
    assert sources is not None and sources.tolist() == expected
    assert drawn_from(arrays, data, "group", "novel", seen=False).sources is None


def test_episodes_keep_sources_apart(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    handed: list[dict] = []

    def sample(labels: np.ndarray, **options: Any) -> Episodes:
        handed.append(options)
        return sample_episodes(labels, **options)

    monkeypatch.setattr(episodes_module, "sample_episodes", sample)
    run(grid, "few_shot", ON_OTHER)
    sources = drawn_from(*features_on(grid, ON_OTHER, "cpu"), "y", "novel", seen=False).sources
    assert handed and all(np.array_equal(options["sources"], sources) for options in handed)
    handed.clear()
    run(grid, "few_shot", JOB)  # its classes are the groups
    assert handed and all(options["sources"] is None for options in handed)


def test_cl2n_is_centred_on_the_base_classes_alone(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of all splits where clips have roles, else the training split."""
    means: list[np.ndarray] = []

    def seen(*clips: object, base_mean: np.ndarray, **others: object) -> np.ndarray:
        means.append(base_mean)
        return few_shot_accuracies(*clips, base_mean=base_mean, **others)  # type: ignore[arg-type]

    monkeypatch.setattr("contrastbench.jobs.episodes.few_shot_accuracies", seen)
    for job in (JOB, ON_OTHER):
        run(grid, "few_shot", job)
        arrays, data = features_on(grid, job, "cpu")
        splits = ("train",) if job is JOB else ("train", "validation", "test")
        base = [arrays[name] if job is JOB else arrays[name][data.column(name, "role") == 0] for name in splits]
        for mean in means:
            np.testing.assert_allclose(mean, np.concatenate(base).mean(axis=0), rtol=1e-3, atol=1e-4)
        assert len(means) == 6
        means.clear()


@pytest.mark.parametrize("scaling", ["raw", "standardised", "whitened"])
def test_features_are_scaled_and_centred_by_the_base_classes_alone(
    grid: Grid, monkeypatch: pytest.MonkeyPatch, scaling: str
) -> None:
    given: list[tuple[Clips, np.ndarray]] = []

    def record(clips: Clips, episodes: object, classifier: str, *, base_mean: np.ndarray, **_: object) -> np.ndarray:
        given.append((clips, base_mean))
        return np.ones(200)

    monkeypatch.setattr("contrastbench.jobs.episodes.few_shot_accuracies", record)
    judged(changed(grid, "few_shot", {"features": scaling}), "few_shot", ON_OTHER)
    arrays, data = features_on(grid, ON_OTHER, "cpu")
    splits = ("train", "validation", "test")
    rows = np.concatenate([arrays[split] for split in splits])
    role = np.concatenate([data.column(split, "role") for split in splits])
    scale = fit_scaling(rows[role == 0], scaling)
    assert len(given) == 6
    for clips, base_mean in given:
        assert np.allclose(clips.features, scale(rows), atol=1e-4)
        assert np.allclose(base_mean, scale(rows)[role == 0].mean(axis=0), atol=1e-4)
        assert not np.allclose(base_mean, scale(rows)[role == 2].mean(axis=0), atol=0.05)


def test_novel_classes_must_be_unheard(grid: Grid) -> None:
    trained = Job("uamix", OTHER, "pixels", 3)
    run(grid, "features", trained)
    with pytest.raises(UserError, match="novel classes, which this encoder was trained on"):
        run(grid, "few_shot", trained)


@pytest.mark.parametrize("readout", ["mean", "mean+std"])
def test_the_reference_row_of_sound_is_read_out_as_the_track_says(grid: Grid, readout: str) -> None:
    job = Job("uamix", OWN, "log-mel", 3)
    patch = {"encoder": {"patch": 4, "readout": readout}}
    grid = small_grid(grid.root, {"tracks": ["uamix"], "uamix": GRID["uamix"] | patch | {"methods": ["log-mel"]}})
    for stage in ("pretrain", "features"):
        run(grid, stage, job)
    arrays, data = features_on(grid, job, "cpu")
    x = data.x("test").astype(float)
    parts = [x.mean(axis=1), x.std(axis=1)][: 1 + (readout == "mean+std")]
    assert np.allclose(arrays["test"], np.concatenate(parts, axis=1), atol=1e-4)
    assert len(judged(grid, "few_shot", job)) == 6


def test_all_methods_meet_the_same_episodes(grid: Grid) -> None:
    first = judged(grid, "few_shot", JOB)
    second = judged(changed(grid, "few_shot", {"classifiers": ["linear", "centroid"]}), "few_shot", JOB)
    assert len(second) == 4 and all(first[name].value == second[name].value for name in second)


def test_the_probe_judges_clips(grid: Grid) -> None:
    job = Job("uamix", OTHER, "pixels", 3)
    run(grid, "features", job)
    found = judged(grid, "probe", job)
    clips = 6 * CLASSES  # of three segments each
    assert {name: row.n for name, row in found.items()} == {"linear": clips, "knn": clips, "low-label-5": 2 * clips}


def test_low_shot_rows(grid: Grid) -> None:
    found = judged(grid, "low_shot", JOB)
    assert {row.protocol for row in found.values()} == {
        Protocol(family=family, shots=n) for family in ("low-shot", "low-shot-row-centred") for n in (1, 3)
    }
    arrays, data = features_on(grid, JOB, "cpu")
    ((train, test),) = folds(arrays, data, seen=True)
    for name, centre in (("low-shot-1", "training"), ("low-shot-row-centred-1", "row")):
        rng = np.random.default_rng([JOB.seed, 1, 0, 0])
        expected = low_shot(train, test, shots=1, centre=centre, strength=4000.0, rng=rng)
        assert np.array_equal(unpack_correct(found[name].correct or "", 96)[:48], expected)
    assert found["low-shot-1"].correct != found["low-shot-row-centred-1"].correct
    assert set(judged(changed(grid, "low_shot", {"centres": ["row"]}), "low_shot", JOB)) == {
        "low-shot-row-centred-1", "low-shot-row-centred-3",
    }  # fmt: skip
    row = found["low-shot-3"]
    assert row.n == 2 * 48 and row.detail["folds"] == 1 and len(row.detail["draws"]) == 2
    assert row.correct is not None and unpack_correct(row.correct, row.n).mean() == row.value
    assert row.value > found["low-shot-1"].value > 1.5 / CLASSES


def test_low_shot_rotates_official_folds_of_an_unseen_data_set(grid: Grid) -> None:
    row = judged(grid, "low_shot", ON_OTHER)["low-shot-1"]
    assert row.dataset == "instruments-to-esc50"
    assert row.n == 2 * 3 * 36 and row.detail["folds"] == 3
    arrays, data = features_on(grid, ON_OTHER, "cpu")
    assert [len(test.labels) for _, test in folds(arrays, data, seen=False)] == [36, 36, 36]
    assert len(list(folds(arrays, data, seen=True))) == 1


def test_a_track_of_images_is_judged_by_the_same_protocols(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = {"datasets": {"digits": ["digits"]}}
    sections = {"few_shot": FEW | own | {"class_of": {}}, "low_shot": LOW | own}
    grid, job = (
        small_grid(tmp_path, {"tracks": ["unremix"], "unremix": sections}),
        Job("unremix", "digits", "pixels", 0),
    )
    run(grid, "prepare", Job("", "digits"))
    run(grid, "features", job)
    few, low = judged(grid, "few_shot", job), judged(grid, "low_shot", job)
    assert len(few) == 6 and all(row.detail == {"classes": 10, "clips": 400} for row in few.values())
    assert few["few-shot-3-way-2-shot-linear"].value > 0.8
    assert low["low-shot-3"].n == 2 * 400 and low["low-shot-3"].detail["folds"] == 1 and low["low-shot-3"].value > 0.6


def test_more_labels_than_clips_is_one_line(grid: Grid) -> None:
    with pytest.raises(UserError, match=r"^low_shot.shots: 9 labels per class asked for, class 0 has 8"):
        run(changed(grid, "low_shot", {"shots": [9]}), "low_shot", JOB)


def test_the_commands(grid: Grid) -> None:
    clips = sound_split([noise(5000, 1), noise(400, 2)], [0, 1])
    prepared(grid.layout.prepared("fsdd"), {"train": clips, "test": clips})
    for command in (
        "spectrograms uamix fsdd",
        "few-shot uamix instruments-to-esc50 pixels 3",
        "low-shot uamix instruments pixels",
    ):
        result = CliRunner().invoke(app, [*command.split(), "--preset", "small"])
        assert result.exit_code == 0, (command, result.output, result.exception)
    assert open_prepared(grid.layout.spectrograms("uamix", "fsdd")).meta.splits["train"].count == 3
    files = sorted(str(path) for path in Path("results").rglob("*.jsonl"))
    assert files == [
        "results/rows/small/few_shot/uamix/instruments-to-esc50/pixels/all.jsonl",
        "results/rows/small/low_shot/uamix/instruments/pixels/all.jsonl",
    ]
