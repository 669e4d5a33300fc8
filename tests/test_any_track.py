"""Sections of evaluation belong to no modality: images are judged by episodes and few labels like clips of sound."""

from pathlib import Path

import numpy as np
import pytest
from small_project import judged, run, small_grid

from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job, pair
from contrastbench.pipeline.stages import STAGES
from contrastbench.results.rows import unpack_correct

SIMCLR = Job("unremix", "digits", "simclr", 0)
ON_DIGITS = {"digits": ["digits", "mnist5k"]}


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Grid:
    """An image track with episodes and few labels, on its own data and on other, larger images."""
    folder = tmp_path_factory.mktemp("any")
    sections = {
        "few_shot": {
            "datasets": ON_DIGITS,
            "way": 5,
            "shots": [1],
            "queries": 5,
            "episodes": 200,
            "features": "raw",
            "class_of": {},
            "classifiers": ["centroid", "linear"],
            "l2": 1.0,
        },
        "low_shot": {"datasets": ON_DIGITS, "shots": [5], "draws": 2, "centres": ["training"], "strength": 100.0},
    }
    grid = small_grid(folder, {"tracks": ["unremix"], "unremix": sections})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("digits", "mnist5k"):
            run(grid, "prepare", Job("", name))
        run(grid, "pretrain", SIMCLR)
        for method in ("simclr", "pixels"):
            run(grid, "features", Job("unremix", "digits", method, 0))
    return grid


@pytest.fixture(autouse=True)
def in_its_folder(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(grid.root)


@pytest.mark.parametrize("method", ["simclr", "pixels"])
@pytest.mark.parametrize("data", ["digits", "mnist5k"])
def test_images_are_judged_by_episodes_and_few_labels(grid: Grid, method: str, data: str) -> None:
    job = Job("unremix", pair("digits", data), method, 0)
    few, low = judged(grid, "few_shot", job), judged(grid, "low_shot", job)
    assert set(few) == {"few-shot-5-way-1-shot-centroid", "few-shot-5-way-1-shot-linear"} and set(low) == {"low-shot-5"}
    for row in (*few.values(), *low.values()):
        assert row.data_hash == grid_data(grid, data) and row.dataset == job.dataset
    assert min(row.value for row in few.values()) > 0.3, "chance is 0.2"
    verdicts = unpack_correct(low["low-shot-5"].correct or "", low["low-shot-5"].n)
    assert np.isclose(verdicts.mean(), low["low-shot-5"].value) and low["low-shot-5"].value > 0.2, "chance is 0.1"


def grid_data(grid: Grid, name: str) -> str:
    from contrastbench.datasets.store import open_prepared

    return open_prepared(grid.layout.prepared(name)).meta.hash


def test_the_pipeline_has_jobs_for_them_and_none_for_what_a_track_lacks(grid: Grid) -> None:
    jobs = grid.jobs("few_shot", "unremix")
    assert {job.dataset for job in jobs} == {"digits", "digits-to-mnist5k"}
    assert {job.method for job in jobs} == set(grid.track("unremix").methods)
    assert not grid.jobs("audio_attack", "unremix") and not grid.has(STAGES["attack"], "unremix")
    assert Path("data/prepared/mnist5k/meta.json") in grid.inputs(
        "few_shot", Job("unremix", "digits-to-mnist5k", "simclr")
    )
