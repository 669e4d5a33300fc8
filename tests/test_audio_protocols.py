"""The stages ``few_shot`` and ``low_shot`` on the reference row ``pixels``, from spectrograms to rows."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from audio_sets import about, noise, prepared, sound_split
from typer.testing import CliRunner

from contrastbench.cli import app, audio
from contrastbench.datasets.base import Split
from contrastbench.datasets.store import open_prepared, write_prepared
from contrastbench.errors import UserError
from contrastbench.jobs.judged import features_on
from contrastbench.params.audio import FrontEndParams
from contrastbench.params.evaluation import FewShotParams, LowShotParams
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.registry import DATASETS
from contrastbench.results.rows import Row, parse_row, unpack_correct
from contrastbench.stages.features import features
from contrastbench.stages.few_shot import few_shot, novel_and_base
from contrastbench.stages.low_shot import folds, low_shot
from contrastbench.stages.probe import probe

JOB = Job("uamix", "trained", "pixels", 3)
FEW = FewShotParams(
    datasets={"trained": ("trained", "other")},
    way=3,
    shots=(1, 2),
    queries=1,
    episodes=200,
    class_of={"trained": "group"},
    classifiers=("centroid", "cl2n", "linear"),
    l2=0.01,
)
LOW = LowShotParams(datasets={"trained": ("trained", "other")}, shots=(1, 3), draws=2, strength=4000.0)
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
    shutil.copy(Path(__file__).parents[1] / "params.yaml", tmp_path)
    grid = Grid(root=tmp_path)
    names = ("train", "validation", "test")
    own = {name: spectrogram_split(8, 1, seed) for seed, name in enumerate(names, start=1)}
    other = {name: spectrogram_split(6, 3, seed, fold=seed) for seed, name in enumerate(names, start=1)}
    for split in other.values():
        assert split.y is not None
        split.columns["role"] = np.array([0, 0, 1, 2, 2, 2])[split.y]
    for name, splits in (("trained", own), ("other", other)):
        facts = about(name, classes=tuple("abcdef"))
        write_prepared(grid.layout.spectrograms(name), facts, splits, "as made")
    features(grid, JOB)
    return grid


def rows(stage: str, dataset: str) -> dict[str, Row]:
    folder = Path("results/rows/default") / stage / "uamix" / dataset / "pixels"
    found = {path.parent.name: parse_row(path.read_text(), str(path)) for path in folder.glob("*/3.json")}
    assert found
    return found


def test_few_shot_rows(grid: Grid) -> None:
    few_shot(grid, JOB, "trained", FEW)
    found = rows("few_shot", "trained")
    assert sorted(found) == sorted(FEW.protocols())
    for row in found.values():
        assert row.n == 200 and row.interval is not None and row.interval[0] < row.value < row.interval[1]
        assert row.detail["classes"] == 12  # groups, as class_of says, of the test split alone
    # Two groups of a class sound the same: between chance (1/3) and certainty.
    assert 0.5 < found["few-shot-3-way-2-shot-cl2n"].value < 1


def test_few_shot_on_another_data_set_uses_its_novel_classes(grid: Grid) -> None:
    few_shot(grid, JOB, "other", FEW)
    found = rows("few_shot", "trained-to-other")
    row = found["few-shot-3-way-2-shot-linear"]
    assert row.detail["classes"] == 3 and row.detail["clips"] == 3 * 6 * 3
    assert row.value > 0.95
    assert row.data_hash == open_prepared(grid.layout.spectrograms("other")).meta.hash
    arrays, data = features_on(grid, JOB, "other", "cpu")
    novel, base = novel_and_base(arrays, data, "y", seen=False)
    assert set(novel.labels) == {3, 4, 5} and set(base.labels) == {0, 1}
    assert novel.segments.shape[1] == 3


def test_novel_classes_must_be_unheard(grid: Grid) -> None:
    trained = Job("uamix", "other", "pixels", 3)
    features(grid, trained)
    with pytest.raises(UserError, match="novel classes, which this encoder was trained on"):
        few_shot(grid, trained, "other", FEW)


def test_all_methods_meet_the_same_episodes(grid: Grid) -> None:
    few_shot(grid, JOB, "trained", FEW)
    first = rows("few_shot", "trained")
    few_shot(grid, JOB, "trained", FEW.model_copy(update={"classifiers": ("linear", "centroid")}))
    second = rows("few_shot", "trained")
    assert all(first[name].value == second[name].value for name in first)


def test_the_probe_judges_clips(grid: Grid) -> None:
    job = Job("uamix", "other", "pixels", 3)
    features(grid, job)
    probe(grid, job)
    found = rows("probe", "other")
    clips = 6 * CLASSES  # of three segments each
    assert {name: row.n for name, row in found.items()} == {"linear": clips, "knn": clips, "low-label-5": 5 * clips}


def test_low_shot_rows(grid: Grid) -> None:
    low_shot(grid, JOB, "trained", LOW)
    found = rows("low_shot", "trained")
    assert sorted(found) == ["low-shot-1", "low-shot-3"]
    row = found["low-shot-3"]
    assert row.n == 2 * 48 and row.detail["folds"] == 1 and len(row.detail["draws"]) == 2
    assert row.correct is not None and unpack_correct(row.correct, row.n).mean() == row.value
    assert row.value > found["low-shot-1"].value > 1.5 / CLASSES


def test_low_shot_rotates_official_folds_of_an_unseen_data_set(grid: Grid) -> None:
    low_shot(grid, JOB, "other", LOW)
    row = rows("low_shot", "trained-to-other")["low-shot-1"]
    assert row.n == 2 * 3 * 36 and row.detail["folds"] == 3
    arrays, data = features_on(grid, JOB, "other", "cpu")
    assert [len(test.labels) for _, test in folds(arrays, data, seen=False)] == [36, 36, 36]
    assert len(list(folds(arrays, data, seen=True))) == 1


def test_more_labels_than_clips_is_one_line(grid: Grid) -> None:
    with pytest.raises(UserError, match=r"^low_shot.shots: 9 labels per class asked for, class 0 has 8"):
        low_shot(grid, JOB, "trained", LOW.model_copy(update={"shots": (9,)}))


def test_the_commands(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    front_end = FrontEndParams(frames=16, mels=16, segments=2)
    section = SimpleNamespace(front_end=front_end, few_shot=FEW, low_shot=LOW)
    monkeypatch.setattr(audio, "_track", lambda grid: section)
    for name in ("trained", "other", "sound"):
        monkeypatch.setitem(DATASETS, name, "contrastbench.datasets.digits")
    clips = sound_split([noise(5000, 1), noise(400, 2)], [0, 1])
    prepared(grid.layout.prepared("sound"), {"train": clips, "test": clips})
    for command in ("spectrograms sound", "few-shot trained other pixels 3", "low-shot trained trained pixels 3"):
        result = CliRunner().invoke(app, command.split())
        assert result.exit_code == 0, (command, result.output, result.exception)
    assert open_prepared(grid.layout.spectrograms("sound")).meta.splits["train"].count == 3
    assert rows("few_shot", "trained-to-other") and rows("low_shot", "trained")
