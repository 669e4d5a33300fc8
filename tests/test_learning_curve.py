"""Learning curves: a switch that changes nothing but the history, what its points are, a killed run, the figure."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from audio_sets import about
from small_project import run, small_grid
from test_tune import grid_of, write_data

from contrastbench.datasets.base import Split
from contrastbench.datasets.store import Prepared, write_prepared
from contrastbench.errors import UserError
from contrastbench.files import file_hash
from contrastbench.methods import Method, method_class
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.pipeline.stages import WITH_ROWS
from contrastbench.reporting.figures import learning_curves, training_curves
from contrastbench.training import loop

POINT = "validation_knn"
# Epochs of 3 steps, logged steps 4, 8, 12 and 15: those with points are 6, 12 and 15, or 3, 6, 9, 12 and 15.
TRAINING = {"epochs": 5, "batch_size": 64, "log_every_steps": 4, "checkpoint_every_steps": 2}


def image_grid(folder: Path, every: int) -> Grid:
    """A project with 192 training pictures of three classes, as the working directory wants it."""
    section = {"training": TRAINING, "curve": {"every_epochs": every}, "probe": {"knn_neighbours": 3}}
    grid = small_grid(folder, {"unremix": section, "swaro": section})
    draw = np.random.default_rng(0)
    base = draw.integers(60, 190, (10, 6, 6, 1))
    splits = {}
    for split, count in (("train", 192), ("validation", 40), ("test", 20)):
        y = np.arange(count) % 3
        noise = draw.normal(0, 60, (count, 6, 6, 1))
        splits[split] = Split(np.clip(base[y] + noise, 0, 255).astype(np.uint8), y)
    digits = about("digits", "image", tuple("0123456789"))
    write_prepared(grid.layout.prepared("digits"), digits, splits, "as made")
    return grid


def trained(stage: str, grid: Grid, job: Job) -> tuple[str, pd.DataFrame]:
    """Hash of the weights that the stage leaves, and its history."""
    run(grid, stage, job)
    return file_hash(grid.trained(job) / "model.safetensors"), pd.read_csv(grid.trained(job) / "history.csv")


def points(history: pd.DataFrame) -> pd.DataFrame:
    return history[history[POINT].notna()].reset_index(drop=True)


def without_points(history: pd.DataFrame) -> pd.DataFrame:
    """What of a history was logged without a learning curve."""
    return history[history["loss"].notna()].drop(columns=POINT).reset_index(drop=True)


@pytest.mark.parametrize(("track", "method"), [("unremix", "mochi"), ("swaro", "acl"), ("swaro", "swaro")])
def test_the_switch_adds_points_to_the_history_and_changes_nothing_else(tmp_path, monkeypatch, track, method):
    monkeypatch.chdir(tmp_path)
    job = Job(track, "digits", method, 0)
    weights, plain = trained("pretrain", image_grid(tmp_path, 0), job)
    assert POINT not in plain
    grid = image_grid(tmp_path, 2)
    looked_at, history = trained("pretrain", grid, job)
    assert looked_at == weights
    pd.testing.assert_frame_equal(without_points(history), plain, check_exact=True)
    assert points(history)["epoch"].tolist() == [2, 4, 5] and points(history)["step"].tolist() == [6, 12, 15]
    assert history["step"].tolist() == [4, 6, 8, 12, 15], "a logged step and a point of the same step are one entry"

    run(grid, "features", job)
    (row,) = run(grid, "validate_knn", job)
    assert points(history)[POINT].iloc[-1] == row.value, "the last point is what the stage says of the weights"
    assert points(history)[POINT].nunique() > 1 and row.value > 0.4, "chance is a third: the pictures do tell"


def test_validation_data_are_looked_at_and_test_data_are_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grid = image_grid(tmp_path, 1)
    read, original = set(), Prepared.x

    def reading(data: Prepared, split: str) -> np.ndarray:
        read.add(split)
        return original(data, split)

    monkeypatch.setattr(Prepared, "x", reading)
    trained("pretrain", grid, Job("unremix", "digits", "simclr", 0))
    assert read == {"train", "validation"}


class Killed(BaseException):
    pass


@pytest.mark.parametrize("killed_at", [3, 5, 6, 11, 12])
def test_a_killed_run_neither_loses_points_nor_has_them_twice(tmp_path, monkeypatch, killed_at):
    """Checkpoints after every second step: the kills fall before, at and behind steps with points."""
    monkeypatch.chdir(tmp_path)
    grid, job = image_grid(tmp_path, 1), Job("unremix", "digits", "simclr", 0)
    weights, whole = trained("pretrain", grid, job)
    assert points(whole)["epoch"].tolist() == [1, 2, 3, 4, 5]

    def dies(method, step):
        if step.number == killed_at:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(method_class("simclr"), "after_step", dies)
        with pytest.raises(Killed):
            run(grid, "pretrain", job)
    resumed, history = trained("pretrain", grid, job)
    assert resumed == weights
    pd.testing.assert_frame_equal(history, whole, check_exact=True)


def test_a_run_killed_without_the_switch_is_not_continued_with_half_a_curve(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = Job("unremix", "digits", "simclr", 0)

    def dies(method, step):
        if step.number == 10:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(method_class("simclr"), "after_step", dies)
        with pytest.raises(Killed):
            run(image_grid(tmp_path, 0), "pretrain", job)
    _, history = trained("pretrain", image_grid(tmp_path, 1), job)
    assert points(history)["epoch"].tolist() == [1, 2, 3, 4, 5]


def test_tuning_is_looked_at_while_it_changes_the_encoder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found: dict[int, tuple[str, pd.DataFrame]] = {}
    for every in (0, 1):
        grid = grid_of(tmp_path, {"curve": {"every_epochs": every}})
        write_data(grid)
        _, pretraining = trained("pretrain", grid, Job("uamix", "instruments", "mae", 0))
        found[every] = trained("tune", grid, Job("uamix", "instruments", "uamix-mae", 0))
    assert points(pretraining)["epoch"].tolist() == [1, 2]
    assert found[0][0] == found[1][0] and POINT not in found[0][1]
    measured = points(found[1][1])
    assert measured["tuning_step"].tolist() == [2, 2] and measured["epoch"].tolist() == [1, 2]
    assert without_points(found[1][1]).equals(found[0][1])


def test_no_row_depends_on_the_switch_and_a_training_is_stale_by_it(tmp_path):
    job = Job("unremix", "digits", "simclr", 0)
    off, on, other = (
        Grid(given=small_grid(tmp_path, {"unremix": {"curve": {"every_epochs": every}}}).params) for every in (0, 1, 2)
    )
    assert on.pretrain_params(job) == off.pretrain_params(job)
    assert off.history_state(job) == []
    assert len({grid.state("pretrain", job) for grid in (off, on, other)}) == 3
    asked = [(stage.name, each) for stage in WITH_ROWS for each in off.jobs(stage.name, "unremix")]
    assert len(asked) > 3
    for stage, each in asked:
        assert on.asked_params(stage, each) == off.asked_params(stage, each)
        assert on.state(stage, each) == off.state(stage, each)


def test_what_a_curve_takes_is_no_time_of_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clock = [0.0]
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def slow(seconds: float, original: Callable) -> Callable:
        def later(*arguments, **others):
            clock[0] += seconds
            return original(*arguments, **others)

        return later

    monkeypatch.setattr("contrastbench.jobs.validation_knn.fit_knn", slow(1000, lambda *_, **__: None))
    monkeypatch.setattr("contrastbench.jobs.validation_knn.is_correct", lambda *_: np.ones(1))
    monkeypatch.setattr(Method, "after_step", slow(1, Method.after_step))
    logs = []
    write = "contrastbench.stages.pretrain.write_run"
    monkeypatch.setattr(write, lambda *arguments: logs.append(arguments[3]))
    run(image_grid(tmp_path, 2), "pretrain", Job("unremix", "digits", "simclr", 0))
    assert logs[0].seconds == 15 and clock[0] == 3015


def test_a_negative_number_of_epochs_is_one_line(tmp_path):
    grid = small_grid(tmp_path, {"unremix": {"curve": {"every_epochs": -1}}})
    with pytest.raises(UserError, match=r"unremix\.curve\.every_epochs = -1: .*greater than or equal to 0"):
        assert grid.params


def a_history(**columns: list) -> pd.DataFrame:
    facts = {"stage": "pretrain", "track": "unremix", "dataset": "digits"}
    return pd.DataFrame(columns).assign(**facts)


def test_the_figure_has_a_line_per_method_of_means_between_its_seeds():
    nothing = float("nan")
    history = a_history(
        method=["simclr"] * 6 + ["hcl", "hcl"],
        seed=[0, 0, 0, 1, 1, 1, 0, 0],
        epoch=[1.0, 1.5, 2.0, 1.0, 1.5, 2.0, 1.0, 2.0],
        loss=[nothing, 3.0, 2.0, nothing, 3.0, 2.0, 3.0, 2.0],
        validation_knn=[0.3, nothing, 0.6, 0.5, nothing, 0.7, 0.2, nothing],
    )
    (chart,) = learning_curves(history)
    assert chart.title == "Learning curves on digits (pretrain)"
    simclr, hcl = sorted(chart.figure.data, key=lambda line: line.name, reverse=True)
    assert (simclr.name, hcl.name) == ("simclr", "hcl")
    assert list(simclr.x) == [1, 2] and list(simclr.y) == [40, 65]
    assert list(simclr.error_y.array) == [10, 5] and list(simclr.error_y.arrayminus) == [10, 5]
    assert list(hcl.x) == [1] and list(hcl.y) == [20]

    (losses,) = training_curves(history.assign(effective_rank=nothing))
    drawn = {(line.name, tuple(line.x)) for line in losses.figure.data}
    assert drawn == {("simclr", (1.5, 2.0)), ("hcl", (1.0, 2.0))}, "points leave no gap in the lines of what is logged"


def test_without_points_there_is_no_figure():
    assert learning_curves(pd.DataFrame()) == []
    assert learning_curves(a_history(method=["simclr"], seed=[0], epoch=[1.0], loss=[1.0])) == []
    assert learning_curves(a_history(method=["simclr"], seed=[0], epoch=[1.0], validation_knn=[float("nan")])) == []
