"""The training loop: it learns, resumes bit-identically, refuses what cannot work, and warns of collapse."""

import csv
import json
import math
import resource
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file
from small_project import run as run_stage
from small_project import small_grid
from torch import nn

from contrastbench.augment.images import to_float
from contrastbench.datasets.store import open_prepared
from contrastbench.errors import UserError
from contrastbench.jobs.classifiers import load_classifier, save_classifiers, state_of
from contrastbench.jobs.examples import Joined, examples_for
from contrastbench.jobs.meter import Meter
from contrastbench.jobs.runtime import Runtime
from contrastbench.jobs.weights import build_method, load_method, load_trained, write_run
from contrastbench.methods import Batch, Method, Step, method_class
from contrastbench.modalities import modality
from contrastbench.models.vit_checkpoint import export_encoder
from contrastbench.params.base import params_hash
from contrastbench.params.evaluation import PretrainParams
from contrastbench.params.root import load
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.stages.pretrain import pretrain
from contrastbench.training import engine, loop
from contrastbench.training.checkpoint import save_checkpoint
from contrastbench.training.engine import engine_for
from contrastbench.training.loop import Examples, train
from contrastbench.training.optimizers import learning_rate_factor
from contrastbench.training.order import ExampleOrder
from contrastbench.training.progress import TrainingProgress
from contrastbench.training.record import TrainingLog

ROOT = Path(__file__).resolve().parent.parent
CLASSES = 4


def params_of(label: str, **training) -> PretrainParams:
    """The smoke preset's parameters of one method, with some training parameters changed."""
    resolved = load("smoke", ROOT).track("unremix").pretrain(label, "digits")
    return resolved.model_copy(update={"training": resolved.training.model_copy(update=training)})


def examples(params: PretrainParams, count: int = 96, seed: int = 0) -> Examples:
    """Noisy copies of one random picture per class."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % CLASSES
    prototypes = rng.integers(0, 256, (CLASSES, 8, 8, 1))
    x = np.clip(prototypes[y] + rng.normal(0, 20, (count, 8, 8, 1)), 0, 255).astype(np.uint8)
    images = modality("image")
    return Examples(x, y, images.inputs, images.augmentation(params.augment))


def fresh(label: str, params: PretrainParams) -> Method:
    torch.manual_seed(0)
    return method_class(params.method).from_params(params, (1, 8, 8), CLASSES)


def run(label: str, checkpoint: Path, *, seed: int = 0, data: Examples | None = None, **training):
    params = params_of(label, batch_size=32, **training)
    method = fresh(label, params)
    log = train(
        method, data or examples(params), params.training,
        seed=seed, checkpoint=checkpoint, identity="x", show_progress=False,
    )  # fmt: skip
    return method, log


def losses(log) -> list[float]:
    return [entry["loss"] for entry in log.history]


def without_time(log):
    return log.history, log.warnings, log.steps


def same_weights(first: Method, second: Method) -> bool:
    return all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("label", ["simclr", "dcl", "hcl", "mochi", "unremix", "unremix-softmix", "unremix-gradsim"])
def test_the_loss_falls(tmp_path, label):
    """Measured over seeds 0 to 3: by 0.21 (simclr) to 0.60 (hcl) from the first four steps to the last four."""
    _, log = run(label, tmp_path / "c.pt", epochs=12, learning_rate=5e-3, log_every_steps=1)
    assert log.steps == 36 and len(log.history) == 36
    assert np.mean(losses(log)[-4:]) < np.mean(losses(log)[:4]) - 0.1


class Killed(BaseException):
    """Simulates SIGKILL: nothing catches it."""


@pytest.mark.parametrize("label", ["unremix", "mochi"])
@pytest.mark.parametrize("killed_at", [1, 2, 3, 4, 7, 8])
def test_a_killed_run_ends_bit_identical(tmp_path, monkeypatch, label, killed_at):
    """Epochs have 3 steps, checkpoints every 2: the kills fall on, before and after both. Adam, warm-up, cosine."""
    settings = {"epochs": 3, "checkpoint_every_steps": 2, "log_every_steps": 1, "warmup_epochs": 1.0}
    whole, log = run(label, tmp_path / "whole.pt", **settings)

    def dies(method, step):
        if step.number == killed_at:
            raise Killed

    monkeypatch.setattr(type(whole), "after_step", dies)
    with pytest.raises(Killed):
        run(label, tmp_path / "c.pt", **settings)
    monkeypatch.undo()
    assert (tmp_path / "c.pt").exists() == (killed_at >= 2)
    resumed, resumed_log = run(label, tmp_path / "c.pt", **settings)
    assert same_weights(whole, resumed)
    assert without_time(resumed_log) == without_time(log)


@pytest.mark.parametrize("label", ["unremix", "mochi"])
def test_plain_pytorch_trains_to_the_last_bit_like_fabric(tmp_path, monkeypatch, label):
    settings = {"epochs": 3, "warmup_epochs": 1.0, "log_every_steps": 1}
    plain, log = run(label, tmp_path / "a.pt", **settings)
    assert isinstance(engine_for("cpu", "32-true"), engine._Plain)
    monkeypatch.setattr(loop, "engine_for", lambda device, precision, **_: engine._Fabric(device, precision))
    fabric, fabric_log = run(label, tmp_path / "b.pt", **settings)
    assert same_weights(plain, fabric) and without_time(log) == without_time(fabric_log)


def test_mixed_precision_is_fabrics_and_resumes(tmp_path):
    settings = {"precision": "bf16-mixed", "checkpoint_every_steps": 2, "log_every_steps": 1}
    assert isinstance(engine_for("cpu", "bf16-mixed"), engine._Fabric)
    half, _ = run("simclr", tmp_path / "a.pt", epochs=2, **settings)
    whole, _ = run("simclr", tmp_path / "b.pt", epochs=2, **settings | {"precision": "32-true"})
    assert not same_weights(half, whole)
    run("simclr", tmp_path / "a.pt", epochs=2, **settings)  # takes up the checkpoint that is left


def test_a_checkpoint_holds_the_optimiser(tmp_path):
    """Guards the test above: with a fresh optimiser the resumed run would end differently."""
    settings = {"epochs": 3, "checkpoint_every_steps": 4, "log_every_steps": 1}
    whole, _ = run("simclr", tmp_path / "c.pt", **settings)  # the last checkpoint, of step 8, is still there
    state = torch.load(tmp_path / "c.pt", weights_only=True)
    assert state["step"] == 8
    state["optimizer"]["state"] = {}
    torch.save(state, tmp_path / "c.pt")
    spoilt, _ = run("simclr", tmp_path / "c.pt", **settings)
    assert not same_weights(whole, spoilt)


def test_a_checkpoint_of_another_run_is_not_continued(tmp_path):
    settings = {"epochs": 3, "checkpoint_every_steps": 2}
    whole, _ = run("simclr", tmp_path / "c.pt", **settings)
    state = torch.load(tmp_path / "c.pt", weights_only=True)
    torch.save(state | {"identity": "other", "step": 0}, tmp_path / "c.pt")  # trained weights, were they taken
    again, _ = run("simclr", tmp_path / "c.pt", **settings)
    assert same_weights(whole, again)


def test_a_broken_checkpoint_is_one_line(tmp_path):
    (tmp_path / "c.pt").write_bytes(b"half")
    with pytest.raises(UserError, match=r"c.pt: not a readable checkpoint .*; delete it to start again"):
        run("simclr", tmp_path / "c.pt", epochs=1)


def test_the_seed_decides_everything(tmp_path):
    first, again, other = (run("simclr", tmp_path / "c.pt", seed=seed, epochs=2)[0] for seed in (0, 0, 1))
    assert same_weights(first, again)
    assert not same_weights(first, other)


def test_the_global_stream_before_training_plays_no_part(tmp_path):
    params = params_of("simclr", batch_size=32, epochs=1)
    trained = []
    for noise in (1, 2):
        method = fresh("simclr", params)
        torch.manual_seed(noise)
        np.random.seed(noise)
        train(method, examples(params), params.training, seed=0, checkpoint=tmp_path / "c.pt", identity="x",
              show_progress=False)  # fmt: skip
        trained.append(method)
    assert same_weights(*trained)


class Spy(Method):
    """Records what the loop passes to it; its loss is a weight."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.encoder = nn.Linear(1, 1)
        self.scale, self.batches, self.steps = scale, [], []

    @classmethod
    def from_params(cls, params, input_shape, number_of_classes):
        return cls()

    def training_step(self, batch: Batch, step: Step):
        self.batches.append(batch)
        self.steps.append(step)
        loss = self.encoder.weight.sum() * self.scale
        spread = torch.randn(len(batch.clean), 8, generator=torch.Generator().manual_seed(step.number))
        return {"loss": loss, "agreement": torch.tensor(0.5), "embeddings": spread}


def spied(tmp_path, method: Method, **training):
    params = params_of("simclr", batch_size=32, **training)
    data = training.pop("data", None) or examples(params, 100)
    return train(method, data, params.training, seed=0, checkpoint=tmp_path / "c.pt", identity="x", show_progress=False)


def test_every_epoch_visits_each_example_at_most_once_in_a_new_order(tmp_path):
    spy = Spy()
    spied(tmp_path, spy, epochs=2)
    index = [batch.index.tolist() for batch in spy.batches]
    assert [len(part) for part in index] == [32] * 6  # the last 4 of 100 are dropped
    for epoch in (index[:3], index[3:]):
        assert len({i for part in epoch for i in part}) == 96
    assert index[:3] != index[3:]
    assert [step.number for step in spy.steps] == list(range(6)) and spy.steps[4].epoch == pytest.approx(4 / 3)


def test_batches_hold_the_examples_that_they_name_and_two_different_views(tmp_path):
    spy = Spy()
    data = examples(params_of("simclr"), 100)
    params = params_of("simclr", batch_size=32, epochs=1)
    train(spy, data, params.training, seed=0, checkpoint=tmp_path / "c", identity="x", show_progress=False)
    batch = spy.batches[0]
    assert torch.equal(batch.clean, to_float(torch.from_numpy(data.x[batch.index.numpy()])))
    assert len(batch.views) == 2 and not torch.equal(*batch.views)
    assert batch.labels is None  # the method does not use labels


def test_labels_reach_only_a_method_that_uses_them(tmp_path):
    spy = Spy()
    spy.uses_labels = True
    data = examples(params_of("simclr"), 100)
    params = params_of("simclr", batch_size=32, epochs=1)

    def trained_on(given: Examples) -> None:
        train(spy, given, params.training, seed=0, checkpoint=tmp_path / "c", identity="x", show_progress=False)

    trained_on(data)
    assert spy.batches[0].labels.tolist() == data.y[spy.batches[0].index.numpy()].tolist()
    with pytest.raises(UserError, match="Spy needs labels"):
        trained_on(replace(data, y=None))


def test_max_examples_is_a_fixed_subset_and_max_steps_an_early_end(tmp_path):
    spy = Spy()
    log = spied(tmp_path, spy, epochs=4, max_examples=40, max_steps=3)
    assert log.steps == 3 and spy.steps[0].total == 3
    assert len({index for batch in spy.batches for index in batch.index.tolist()}) <= 40


def test_max_examples_are_drawn_by_the_seed_and_stay_the_same_in_every_epoch():
    params = params_of("simclr", batch_size=20, epochs=3, max_examples=40).training
    seen = []
    for seed in range(3):
        order = ExampleOrder(100, params, seed)
        epochs = [{i for step in (2 * epoch, 2 * epoch + 1) for i in order.batch(step).tolist()} for epoch in range(3)]
        assert epochs[0] == epochs[1] == epochs[2] and len(epochs[0]) == 40
        seen.append(epochs[0])
    assert seen[0] != seen[1] != seen[2] and all(max(chosen) > 60 for chosen in seen)  # not simply the first 40


def test_batches_are_drawn_anew_by_seed_and_epoch():
    """Each stream for itself: with one of them fixed, the other still makes another order."""
    params = params_of("simclr", batch_size=20, epochs=2).training
    orders = {
        (seed, epoch): tuple(tuple(ExampleOrder(100, params, seed).batch(5 * epoch + n).tolist()) for n in range(5))
        for seed in range(2)
        for epoch in range(2)
    }
    assert len(set(orders.values())) == 4
    assert all(sorted(sum(batches, ())) == list(range(100)) for batches in orders.values())


def test_a_step_draws_from_a_stream_of_its_seed_and_number(tmp_path):
    class Drawing(Spy):
        def training_step(self, batch, step):
            drawn.append(torch.rand((), generator=step.generator).item())
            return super().training_step(batch, step)

    drawn: list[float] = []
    params = params_of("simclr", batch_size=32, epochs=1)
    for seed in (0, 1, 0):
        train(Drawing(), examples(params), params.training, seed=seed, checkpoint=tmp_path / "c", identity="x",
              show_progress=False)  # fmt: skip
    assert len(set(drawn)) == 6 and drawn[:3] == drawn[6:]


VALUES = {"train": 1, "unlabeled": 2, "validation": 3, "test": 4}


class Splits:
    """Prepared digits of one value a split."""

    def __init__(self, *splits: str) -> None:
        self.meta = SimpleNamespace(modality="image", splits=dict.fromkeys(splits))

    def x(self, split: str) -> np.ndarray:
        return np.full((5, 8, 8, 1), VALUES[split], np.uint8)

    def y(self, split: str) -> np.ndarray | None:
        return None if split == "unlabeled" else np.full(5, VALUES[split])


@pytest.mark.parametrize(
    ("labels", "splits", "expected"),
    [
        (False, ("train", "validation", "test"), [1] * 5),
        (True, ("train", "unlabeled", "validation", "test"), [1] * 5),
        (False, ("train", "unlabeled", "validation", "test"), [1] * 5 + [2] * 5),
    ],
)
def test_training_reads_no_example_of_validation_or_test(labels, splits, expected):
    method = Spy()
    method.uses_labels = labels
    given = examples_for(method, Splits(*splits), params_of("simclr").augment)
    assert given.x[np.arange(len(given.x))].max(axis=(1, 2, 3)).tolist() == expected
    assert given.y is None if 2 in expected else given.y.tolist() == expected


def test_gradients_are_handed_over_between_backward_and_step_and_weights_after_it(tmp_path):
    """A method that drops its gradients in ``after_backward`` does not move; ``after_step`` acts last."""

    class Frozen(Spy):
        def after_backward(self, step):
            assert self.encoder.weight.grad is not None
            if step.number < 2:
                self.encoder.weight.grad = None

        def after_step(self, step):
            self.seen = [*getattr(self, "seen", []), self.encoder.weight.item()]

    method = Frozen()
    before = method.encoder.weight.item()
    spied(tmp_path, method, epochs=1, learning_rate=0.1, optimizer="adam")
    assert method.seen[:2] == [before, before] and method.seen[2] != before


def test_the_last_fifty_losses_are_remembered(tmp_path):
    class Advising(Spy):
        def advice(self, recent_losses):
            return f"{len(recent_losses)} losses, the last {recent_losses[-1]:.3f}"

    log = spied(tmp_path, Advising(), epochs=20, learning_rate=0.01)
    assert log.warnings == [f"50 losses, the last {log.history[-1]['loss']:.3f}"]


def test_progress_starts_where_a_resumed_run_stands():
    log = TrainingLog(steps=30, seconds=10.0)
    with TrainingProgress("SimCLR", 40, log, batch_size=8, show=False) as progress:
        (task,) = progress._progress.tasks
        assert (task.completed, task.total) == (30, 40)
        log.steps, log.seconds = 34, 12.0
        progress.show(0.5)
        assert task.completed == 34 and task.fields["status"] == "loss 0.5000  16 examples/s"


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_with_step_terms_and_checkpoint(tmp_path, factor):
    class Diverging(Spy):
        def training_step(self, batch, step):
            self.scale = factor if step.number == 3 else 1.0
            return super().training_step(batch, step)

    with pytest.raises(UserError) as caught:
        spied(tmp_path, Diverging(), epochs=2, checkpoint_every_steps=2)
    message = str(caught.value)
    assert "stopped at step 3: the loss is not a number" in message and "agreement 0.5" in message
    assert f"resume from {tmp_path / 'c.pt'}" in message and "\n" not in message
    assert torch.load(tmp_path / "c.pt", weights_only=True)["step"] == 2
    (tmp_path / "c.pt").unlink()
    with pytest.raises(UserError, match="no checkpoint was written yet"):
        spied(tmp_path, Diverging(), epochs=2, checkpoint_every_steps=50)


@pytest.mark.parametrize("label", ["simclr", "hcl", "unremix", "mochi"])
def test_embeddings_that_are_no_numbers_stop_every_method(tmp_path, label):
    params = params_of(label, batch_size=32, epochs=1)
    method = fresh(label, params)
    with torch.no_grad():
        method.projector.last.weight[0, 0] = math.nan
    with pytest.raises(UserError, match="stopped at step 0: the loss is not a number"):
        train(method, examples(params), params.training, seed=0, checkpoint=tmp_path / "c.pt", identity="x",
              show_progress=False)  # fmt: skip


def test_weights_that_are_no_numbers_are_never_kept(tmp_path):
    """The gradient of a finite loss may not be finite: the checkpoint to resume from is the one before it."""

    class Spoiling(Spy):
        def after_step(self, step):
            if step.number == 3:
                self.encoder.weight.data.fill_(math.nan)

    with pytest.raises(UserError, match="stopped at step 3: weights are not a number"):
        spied(tmp_path, Spoiling(), epochs=2, checkpoint_every_steps=2)
    assert torch.load(tmp_path / "c.pt", weights_only=True)["step"] == 2


def test_a_resumed_run_gives_the_same_advice(tmp_path):
    class Advising(Spy):
        def advice(self, recent_losses):
            return f"{len(recent_losses)} losses"

    for _ in range(2):  # the second time from the checkpoint of step 4
        assert spied(tmp_path, Advising(), epochs=2, checkpoint_every_steps=4).warnings == ["6 losses"]


def test_a_batch_larger_than_the_data_is_refused(tmp_path):
    params = params_of("simclr")
    with pytest.raises(UserError, match=r"training.batch_size = 32: larger than the 20 training examples"):
        run("simclr", tmp_path / "c.pt", data=examples(params, 20))


def test_a_collapsed_run_says_so_and_names_the_remedy(tmp_path):
    class Collapsing(Spy):
        def training_step(self, batch, step):
            return super().training_step(batch, step) | {"embeddings": torch.ones(32, 8)}

    (warning,) = spied(tmp_path, Collapsing(), epochs=1).warnings
    assert "collapsed (effective rank 1.00)" in warning and "lower the learning rate" in warning
    assert spied(tmp_path, Spy(), epochs=1).warnings == []


def test_the_schedule_reaches_the_optimiser(tmp_path):
    log = spied(tmp_path, Spy(), epochs=2, warmup_epochs=1.0, learning_rate=0.5, log_every_steps=1)
    expected = [0.5 * learning_rate_factor(step, 6, 3, 0.0) for step in range(6)]
    assert [entry["learning_rate"] for entry in log.history] == pytest.approx(expected)


def test_diagnostics_see_labels_and_leave_training_alone(tmp_path, monkeypatch):
    measured, log = run("unremix", tmp_path / "c.pt", epochs=2, log_every_steps=1)
    assert 0 < log.history[0]["false_negatives_weighted"] < 1
    assert -1 <= log.history[0]["rank_similarity_representativeness"] <= 1
    monkeypatch.setattr(type(measured), "diagnose", lambda self, batch, labels: {})
    plain, _ = run("unremix", tmp_path / "c.pt", epochs=2, log_every_steps=1)
    assert same_weights(measured, plain)


def test_diagnostics_see_the_labels_of_their_batch(tmp_path):
    class Curious(Spy):
        def diagnose(self, batch, labels):
            return {"right": float((labels == batch.index % CLASSES).double().mean())}

    log = spied(tmp_path, Curious(), epochs=2, log_every_steps=1)
    assert [entry["right"] for entry in log.history] == [1.0] * 6


def test_joined_arrays_read_as_one():
    first, second = np.arange(5), np.arange(100, 103)
    joined = Joined([first, second])
    assert len(joined) == 8
    assert joined[np.array([0, 4, 5, 7])].tolist() == [0, 4, 100, 102]
    assert joined[np.array([6])].tolist() == [101]


def test_the_stage_leaves_weights_history_and_record_and_no_checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    training = {"max_steps": 6, "checkpoint_every_steps": 2, "log_every_steps": 2}
    grid, job = small_grid(tmp_path, {"unremix": {"training": training}}), Job("unremix", "digits", "unremix", 0)
    run_stage(grid, "prepare", Job("", "digits"))
    pretrain(grid, job, Runtime())
    layout, params = grid.layout, grid.pretrain_params(job)
    folder = layout.run("pretrain", job)
    assert sorted(path.name for path in folder.iterdir()) == ["history.csv", "model.safetensors", "run.json"]
    rows = list(csv.DictReader((folder / "history.csv").open()))
    assert [float(row["step"]) for row in rows] == [2, 4, 6] and "effective_negatives" in rows[0]
    assert not (layout.run("checkpoints", job) / "pretrain.pt").exists()
    record = json.loads((folder / "run.json").read_text())
    assert record["params"] == params.model_dump(mode="json") and record["steps"] == 6 and record["warnings"] == []
    assert {name: record[name] for name in ("params_hash", "code_hash", "data_hash")} == {
        "params_hash": params_hash(params),
        "code_hash": grid.code("pretrain", job),
        "data_hash": open_prepared(layout.prepared("digits")).meta.hash,
    }
    method = load_trained(grid, job)
    assert not method.training
    untrained = method_class("unremix").from_params(params, (1, 8, 8), 10)
    assert not same_weights(method, untrained)


def test_every_seed_starts_from_weights_of_its_own():
    data = SimpleNamespace(meta=SimpleNamespace(modality="image", classes=["a", "b"]), x=Splits().x)
    first, again, other = (build_method(params_of("simclr"), data, seed) for seed in (0, 0, 1))
    assert same_weights(first, again) and not same_weights(first, other)


def test_the_stage_trains_with_its_seed_and_continues_what_is_its_own_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grid, job = small_grid(tmp_path), Job("unremix", "digits", "simclr", 7)
    run_stage(grid, "prepare", Job("", "digits"))
    given = {}

    def seen(method, examples, params, **others):
        given.update(others)
        return TrainingLog()

    monkeypatch.setattr("contrastbench.stages.pretrain.train", seen)
    pretrain(grid, job, Runtime())
    assert given["seed"] == 7
    data = open_prepared(grid.layout.prepared("digits"))
    for part in (params_hash(grid.pretrain_params(job)), grid.code("pretrain", job), data.contents):
        assert part in given["identity"]


def test_nothing_but_the_global_seed_reaches_libraries(tmp_path):
    """A step sees the same global stream whether the run was resumed or not."""
    drawn = []

    class Drawing(Spy):
        def training_step(self, batch, step):
            drawn.append(float(torch.rand(())))
            return super().training_step(batch, step)

    spied(tmp_path, Drawing(), epochs=1, checkpoint_every_steps=2)
    whole, drawn[:] = list(drawn), []
    spied(tmp_path, Drawing(), epochs=1, checkpoint_every_steps=2)  # resumes after step 2
    assert drawn == whole[2:]
    assert loop.seed_for("global", 0, 2) != loop.seed_for("global", 0, 1)


def write_weights(path: Path, module: nn.Module) -> None:
    """Into the folder of a run below the working directory."""
    write_run(Grid("smoke", ROOT), Job("unremix", "digits", "simclr", 0), module, TrainingLog(), "cpu", Meter(), {})


WRITERS = {
    "checkpoint": lambda path, module: save_checkpoint(path, module.state_dict()),
    "model.safetensors": write_weights,
    "classifiers.safetensors": lambda path, module: save_classifiers(path, {"slf": state_of(module)}, "these"),
    "encoder": lambda path, module: export_encoder(module, path),
}


@pytest.mark.parametrize("content", [["a", "list"], 5])
def test_a_checkpoint_of_something_else_is_one_line(tmp_path, content):
    torch.save(content, tmp_path / "c.pt")
    with pytest.raises(UserError, match=r"c.pt: not a readable checkpoint .*; delete it to start again"):
        run("simclr", tmp_path / "c.pt", epochs=1)


def test_damaged_weights_are_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grid = small_grid(tmp_path)
    run_stage(grid, "prepare", Job("", "digits"))
    data = open_prepared(grid.layout.prepared("digits"))
    params = params_of("simclr")
    path = tmp_path / "model.safetensors"
    whole = save(build_method(params, data, 0).state_dict())
    other = save(build_method(params_of("mochi"), data, 0).state_dict() | {"more": torch.zeros(1)})
    path.write_bytes(whole)
    load_method(tmp_path, params, data, 0)
    for content in (whole[:-100], b"", b"text", other):
        path.write_bytes(content)
        with pytest.raises(UserError) as caught:
            load_method(tmp_path, params, data, 0)
        told = str(caught.value)
        assert told.startswith(f"{path}: not a readable file of this method's weights (") and "\n" not in told
        assert told.endswith("; delete it and run the training again")
        with pytest.raises(UserError, match=r"not a readable file of this method's classifiers .*; delete it and run"):
            load_classifier(path, build_method(params, data, 0), "slf")


@pytest.mark.parametrize("name", WRITERS)
def test_weights_that_find_no_room_are_one_line_and_leave_nothing(tmp_path, monkeypatch, name):
    """A limit on the size of files simulates a full disk: it also interrupts a write that has begun."""
    monkeypatch.chdir(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(UserError, match=rf"{name}: cannot be written: File too large$"):
            WRITERS[name](tmp_path / name, nn.Linear(200, 200))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == []


def test_weights_are_written_as_safetensors_itself_writes_files(tmp_path):
    module = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)).to(memory_format=torch.channels_last).half()
    save_classifiers(tmp_path / "ours", {"slf": state_of(module), "alf": state_of(module)}, "these")
    tensors = {
        f"{head}/{name}": tensor.contiguous().clone()
        for head in ("slf", "alf")
        for name, tensor in module.state_dict().items()
    }
    save_file(tensors, tmp_path / "theirs", {"made_from": "these"})
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
