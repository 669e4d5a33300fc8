"""Loggers: they see what history.csv will hold, while training runs, once each, and change nothing of the training."""

import csv
import importlib.util
import json
import os
import struct
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from small_project import small_grid
from test_tune import Killed, grid_of, write_data

from contrastbench import cli
from contrastbench.cli.stages import _train
from contrastbench.datasets import adapter
from contrastbench.datasets.base import Split
from contrastbench.datasets.store import write_prepared
from contrastbench.errors import UserError
from contrastbench.loggers.writer import Training
from contrastbench.methods.simclr import SimCLR
from contrastbench.methods.uamix_mae import UaMixMAE
from contrastbench.pipeline.begin import begin
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.pipeline.loggers import LOG_VARIABLE, LOGGERS
from contrastbench.pipeline.stages import STAGES

JOB, TUNED = Job("unremix", "digits", "simclr", 0), Job("uamix", "instruments", "uamix-mae", 0)
# 12 steps of 4 epochs: a checkpoint every fourth, an entry every second, an accuracy every third.
TRAINING = {"epochs": 4, "batch_size": 32, "checkpoint_every_steps": 4, "log_every_steps": 2}


def without(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        importlib.util.find_spec(name) is None, reason=f"{name} is not installed; `pip install -e '.[{name}]'`"
    )


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Grid:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(LOG_VARIABLE, "")
    changes = {"tracks": ["unremix"], "unremix": {"training": TRAINING, "curve": {"every_epochs": 1}}}
    grid = small_grid(tmp_path, changes)
    draw = np.random.default_rng(0)
    splits = {
        name: Split(draw.integers(0, 256, (count, 8, 8, 1), dtype=np.uint8), np.arange(count) % 10)
        for name, count in (("train", 96), ("validation", 30), ("test", 30))
    }
    write_prepared(tmp_path / "data/prepared/digits", adapter("digits"), splits, "test")
    return grid


@dataclass
class Fake:
    """A logger that remembers, as a server does, by the training's key."""

    trainings: list[Training] = field(default_factory=list)
    entries: list[tuple[str, int, dict]] = field(default_factory=list)
    ends: list[bool] = field(default_factory=list)
    fails: bool = False

    def open_writer(self, training: Training) -> "Fake":
        self.trainings.append(training)
        return self

    def write(self, step: int, values: dict[str, float]) -> None:
        if self.fails:
            raise OSError("no route to host")
        self.entries.append((self.trainings[-1].name, step, values))

    def close(self, *, finished: bool) -> None:
        self.ends.append(finished)

    def of_last(self, phase: str) -> dict[int, dict]:
        """What the last process to train has written."""
        entries = [(step, values) for name, step, values in self.entries if name.startswith(f"{phase}/")]
        return dict(entries[len(entries) - len({step for step, _ in entries}) :])


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    fake, module = Fake(), ModuleType("contrastbench.loggers.fake")
    module.open_writer = fake.open_writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return fake


def train(grid: Grid, logger: str | None, job: Job = JOB) -> None:
    _train(STAGES[grid.training_stage(job)], job, grid, "cpu", logger)


def history(grid: Grid, job: Job = JOB) -> list[dict[str, float]]:
    with (grid.trained(job) / "history.csv").open(encoding="utf-8") as file:
        return [{name: float(value) for name, value in line.items() if value} for line in csv.DictReader(file)]


def by_step(entries: list[dict[str, float]]) -> dict[int, dict[str, float]]:
    return {
        int(entry["step"]): {k: v for k, v in entry.items() if k not in ("step", "tuning_step")} for entry in entries
    }


def killed_at(monkeypatch: pytest.MonkeyPatch, grid: Grid, step: int, logger: str | None) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(SimCLR, "after_step", lambda _, at: (_ for _ in ()).throw(Killed) if at.number == step else None)
        with pytest.raises(Killed):
            train(grid, logger)


def test_every_entry_is_that_of_the_history_and_the_weights_stay_what_they_are(grid, fake):
    train(grid, None)
    weights, alone = (grid.trained(JOB) / "model.safetensors").read_bytes(), history(grid)
    train(grid, "fake")
    assert (grid.trained(JOB) / "model.safetensors").read_bytes() == weights
    written = {step: values for _, step, values in fake.entries}
    assert history(grid) == alone and written == by_step(alone) and len(written) == len(fake.entries)
    assert set(written) == {2, 3, 4, 6, 8, 9, 10, 12}
    assert {"loss", "learning_rate", "effective_rank", "epoch", "validation_knn"} <= set(written[6])
    assert set(written[3]) == {"epoch", "validation_knn"}
    assert fake.ends == [True]
    (training,) = fake.trainings
    assert training.name == "pretrain/unremix/digits/simclr/0" and training.preset == grid.preset
    assert training.params["training"]["epochs"] == 4 and training.folder == Path("runs/small/log")


def test_entries_come_while_training_runs(grid, fake, monkeypatch):
    seen = {}
    monkeypatch.setattr(SimCLR, "after_step", lambda _, step: seen.update({step.number: [e[1] for e in fake.entries]}))
    monkeypatch.setattr("contrastbench.loggers.following.ThreadPoolExecutor", lambda _: AtOnce())
    train(grid, "fake")
    assert seen[2] == [] and seen[3] == [2] and seen[11] == [2, 3, 4, 6, 8, 9, 10]


class AtOnce:
    """In place of a thread, whose time is its own."""

    def submit(self, work, *arguments):
        work(*arguments)

    def shutdown(self):
        pass


@pytest.mark.parametrize("step", [2, 4, 9])
def test_a_killed_training_goes_on_as_the_same_one_with_its_entries_from_the_first(grid, fake, monkeypatch, step):
    killed_at(monkeypatch, grid, step, "fake")
    assert fake.ends == [False] and len(fake.entries) < 8
    before, fake.entries = fake.entries, []
    train(grid, "fake")
    assert fake.ends == [False, True]
    first, second = fake.trainings
    assert first == second and len(first.key) == 16
    assert {s: values for _, s, values in fake.entries} == by_step(history(grid)) and len(fake.entries) == 8
    assert all(entry in fake.entries for entry in before)


def test_another_training_has_another_key(grid, fake, tmp_path):
    for seed in (0, 1):
        train(grid, "fake", Job("unremix", "digits", "simclr", seed))
    train(small_grid(tmp_path, {"unremix": {"training": TRAINING | {"epochs": 1}}}), "fake")
    assert len({training.key for training in fake.trainings}) == 3


def test_both_steps_of_tuning_are_followed_as_trainings_of_their_own(tmp_path, fake, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grid = grid_of(tmp_path)
    write_data(grid)
    train(grid, None, Job("uamix", "instruments", "mae", 0))
    original, calls = UaMixMAE.training_step, []

    def dies_in_the_second_step(self, batch, step):
        calls.append(step)
        if len(calls) == 11:
            raise Killed
        return original(self, batch, step)

    monkeypatch.setattr(UaMixMAE, "training_step", dies_in_the_second_step)
    with pytest.raises(Killed):
        train(grid, "fake", TUNED)
    train(grid, "fake", TUNED)
    assert [(each.name[:6], end) for each, end in zip(fake.trainings, fake.ends, strict=True)] == [
        ("tune-1", True),
        ("tune-2", False),
        ("tune-2", True),
    ]
    for number in (1, 2):
        of_step = [entry for entry in history(grid, TUNED) if entry["tuning_step"] == number]
        assert fake.of_last(f"tune-{number}") == by_step(of_step) != {}


def test_a_logger_that_fails_is_told_of_once_and_costs_nothing_else(grid, fake, capsys):
    fake.fails = True
    train(grid, "fake")
    assert capsys.readouterr().out.count("the logger failed, training goes on without it: no route to host") == 1
    assert len(history(grid)) == 8 and fake.ends == []


def test_of_several_processes_the_first_is_followed(grid, fake, monkeypatch):
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 1)
    from contrastbench.loggers import followed
    from contrastbench.training import loop, resumable

    with followed("fake", grid, JOB, print):
        assert loop.ResumableRun is resumable.ResumableRun


def test_the_option_is_checked_before_anything_is_done(grid, monkeypatch, capsys):
    command = ["contrastbench", "pretrain", "unremix", "digits", "simclr", "0", "--preset", "small", "--log"]

    def refusal(name: str) -> str:
        monkeypatch.setattr(sys, "argv", [*command, name])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 2
        return capsys.readouterr().err

    assert refusal("tensorbord") == "contrastbench: --log tensorbord: must be tensorboard, wandb or mlflow\n"
    monkeypatch.setattr("contrastbench.pipeline.loggers.find_spec", lambda _: None)
    for name in LOGGERS:
        install = f"`pip install 'contrastbench[{name}]'` installs it"
        assert refusal(name) == f"contrastbench: --log {name}: is not installed; {install}\n"
    with pytest.raises(UserError, match=r"^--config log=wandb: is not installed"):
        begin({"preset": "small", "log": "wandb"})


@pytest.mark.parametrize(
    ("options", "before", "after"),
    [({}, "", ""), ({"log": ""}, "mlflow", ""), ({}, "wandb", "wandb"), ({"log": "tensorboard"}, "", "tensorboard")],
)
def test_jobs_of_a_run_are_told(grid, monkeypatch, options, before, after):
    for name in ("CONTRASTBENCH_PARAMS", "CONTRASTBENCH_DEVICE", "CONTRASTBENCH_DEVICES", "DVC_NO_ANALYTICS"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr("contrastbench.pipeline.loggers.find_spec", lambda name: name)
    monkeypatch.setenv(LOG_VARIABLE, before)
    begin({"preset": "small", **options})
    assert os.environ[LOG_VARIABLE] == after


def test_every_logger_is_an_extra_with_a_module(repository):
    extras = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name in LOGGERS:
        assert extras["optional-dependencies"][name][0].startswith(f"{name}==")
        assert (repository / f"src/contrastbench/loggers/{name}.py").is_file()


@without("tensorboard")
def test_files_of_tensorboard_hold_the_history_once(grid, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    killed_at(monkeypatch, grid, 9, "tensorboard")
    train(grid, "tensorboard")
    events = EventAccumulator("runs/small/log/tensorboard/pretrain/unremix/digits/simclr/0")
    events.Reload()
    expected = by_step(history(grid))
    for name in {name for entry in expected.values() for name in entry}:
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert found == [(step, np.float32(entry[name])) for step, entry in expected.items() if name in entry], name


@without("mlflow")
def test_a_store_of_mlflow_holds_the_history_once(grid, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    killed_at(monkeypatch, grid, 9, "mlflow")
    train(grid, "mlflow")
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{Path('runs/small/log/mlflow.db').resolve()}")
    (experiment,) = client.search_experiments(filter_string="name = 'contrastbench'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "pretrain/unremix/digits/simclr/0" and run.info.status == "FINISHED"
    assert run.data.params["training.epochs"] == "4"
    expected = by_step(history(grid))
    for name in {name for entry in expected.values() for name in entry}:
        found = {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, name)}
        assert found == {step: entry[name] for step, entry in expected.items() if name in entry}
        assert len(client.get_metric_history(run.info.run_id, name)) == len(found)


@without("wandb")
def test_an_offline_run_of_wandb_holds_the_history(grid, monkeypatch):
    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}.items():
        monkeypatch.setenv(name, value)
    killed_at(monkeypatch, grid, 9, "wandb")
    train(grid, "wandb")
    files = sorted(Path("runs/small/log/wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2 and len({file.name for file in files}) == 1  # one id
    assert wandb_history(files[-1]) == by_step(history(grid))


def wandb_history(file: Path) -> dict[int, dict[str, float]]:
    """The history in W&B's file: a LevelDB log (blocks of 32 KiB of pieces with crc, length and type) of protobufs."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, position, record, found = file.read_bytes(), 7, b"", {}  # behind a head of 7 bytes
    while position + 7 <= len(data):
        if 32768 - position % 32768 < 7:  # no room for another head
            position += 32768 - position % 32768
        length, kind = struct.unpack("<HB", data[position + 4 : position + 7])
        record += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (2, 3):  # begun, goes on
            continue
        history, record = Record.FromString(record).history, b""
        values = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in history.item}
        if values:
            found[values["_step"]] = {name: value for name, value in values.items() if not name.startswith("_")}
    return found


def test_without_the_option_no_logger_is_imported():
    code = "import contrastbench.cli, contrastbench.stages.pretrain, sys; print([n for n in sys.modules if n in %r])"
    code %= ((*LOGGERS, "contrastbench.loggers"),)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
