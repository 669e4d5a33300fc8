"""One training in several processes is the training of one: losses, gradients, queues, checkpoints; and how it ends."""

import json
import time

import pytest
import torch
from distributed_cases import LABELS, STEPS, gradients_by_hand, outcome, trained, work
from safetensors.torch import load_file
from small_project import LEARNS_DIGITS, run, small_grid

from contrastbench import cli
from contrastbench.errors import UserError
from contrastbench.jobs.runtime import Runtime
from contrastbench.pipeline.device import resolve_device
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.pipeline.resolved import PARAMS_VARIABLE
from contrastbench.pipeline.together import check_batches, sharing
from contrastbench.training import loop, processes
from contrastbench.training.engine import engine_for
from contrastbench.training.processes import launch, writes_files

PROCESSES = 2
JOB = Job("unremix", "digits", "simclr", 0)
# SGD, because Adam moves a weight by the learning rate whatever the gradient, rounding errors included.
PROJECT = {
    "tracks": ["unremix"],
    "unremix": LEARNS_DIGITS | {"training": {"batch_size": 128, "optimizer": "sgd", "max_steps": 4}},
}


def handed_over(patch, devices: int) -> tuple:
    """What the command line hands to the processes that it starts."""
    handed = []
    patch.setattr(processes, "launch", lambda *call, **how: handed.append((call, how)))
    patch.setattr("os.cpu_count", lambda: devices)
    command = "pretrain unremix digits simclr 0 --preset small --device cpu --devices"
    cli.app([*command.split(), str(devices)], standalone_mode=False)
    ((call, how),) = handed
    assert how == {"processes": devices, "device": "cpu"}
    return call


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """The folder in which two processes have left what they found, each for itself; the second was killed at last."""
    folder = tmp_path_factory.mktemp("together")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv(PARAMS_VARIABLE, "")
        grid = small_grid(folder, PROJECT)
        run(grid, "prepare", Job("", "digits"))
        with pytest.MonkeyPatch.context() as only_here:
            command = handed_over(only_here, PROCESSES)
        with pytest.raises(KeyboardInterrupt):
            trained(folder / "of-one.pt", killed_at=4)
        begun = time.monotonic()
        with pytest.raises(
            UserError, match=r"^process 2 of 2 was ended by SIGKILL, .*goes on from its last checkpoint$"
        ):
            launch(work, folder, command, processes=PROCESSES, device="cpu")
        assert time.monotonic() - begun < processes.PATIENCE.seconds, "the first one did not wait for the killed one"
    return folder


@pytest.fixture(scope="module")
def left(together):
    """What each process found."""
    return [torch.load(together / f"process-{rank}.pt") for rank in range(PROCESSES)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training in one process, never interrupted."""
    return trained(tmp_path_factory.mktemp("whole") / "c.pt")


def assert_equal_up_to_rounding(found, expected, within=1e-4):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        apart = (found[name].double() - value.double()).abs().max()
        assert apart <= within * (1 + value.double().abs().max()), f"{name}: {apart}"


@pytest.mark.parametrize("label", LABELS)
def test_several_processes_are_as_one(left, label):
    found, expected = left[0]["found"][label], outcome(label)
    for number in range(STEPS):
        assert found.pop(f"rows/{number}") * PROCESSES == expected.pop(f"rows/{number}"), "nothing is divided"
    assert_equal_up_to_rounding(found, expected)
    of_first_step = [name for name in expected if "/0" in name]
    assert len(of_first_step) > 10
    assert_equal_up_to_rounding(*({name: each[name] for name in of_first_step} for each in (found, expected)), 1e-5)
    of_second = left[1]["found"][label]
    for name, value in found.items():
        assert torch.equal(value, of_second[name]), f"{name} differs between the processes"


def test_gradients_of_a_divided_network(left):
    """Of its inputs they are whole in every process; of its weights, the mean over processes is whole."""
    inputs, weights = gradients_by_hand()
    for each in left:
        torch.testing.assert_close(each["by hand"][0], inputs)
    torch.testing.assert_close(torch.stack([each["by hand"][1] for each in left]).mean(0), weights)


def test_batchnorm_of_each_part_alone_is_something_else(left):
    """Guards the test above, and is what ``sync_batchnorm: false`` says."""
    alone = outcome("simclr")
    assert all(
        abs(left[0]["apart"][name] - alone[name]) > 1e-3 for name in (f"loss/{number}" for number in range(STEPS))
    )


@pytest.mark.parametrize("synchronised", [True, False])
def test_the_parameter_reaches_what_trains(tmp_path, monkeypatch, synchronised):
    given = []
    monkeypatch.setattr(loop, "engine_for", lambda *_, **options: given.append(options) or engine_for("cpu", "32-true"))
    trained(tmp_path / "c.pt", max_steps=1, sync_batchnorm=synchronised)
    assert given == [{"sync_batchnorm": synchronised}]


def test_a_checkpoint_of_one_process_resumes_in_two(left, whole):
    method, log = whole
    assert_equal_up_to_rounding(left[0]["resumed"], method.state_dict())
    assert left[0]["log"]["steps"] == log.steps == 8
    for found, expected in zip(left[0]["log"]["history"], log.history, strict=True):
        assert found == pytest.approx(expected, rel=1e-4)


def test_a_killed_run_leaves_a_whole_checkpoint_that_resumes_in_one(together, whole):
    assert not list(together.glob(".unfinished-*"))
    assert torch.load(together / "of-two.pt", weights_only=True)["step"] == 3
    method, log = trained(together / "of-two.pt")
    assert_equal_up_to_rounding(method.state_dict(), whole[0].state_dict())
    assert log.steps == 8


def test_a_command_on_two_devices_leaves_what_it_leaves_on_one(together, tmp_path, monkeypatch):
    def weights_and_record(folder):
        return load_file(folder / "model.safetensors"), json.loads((folder / "run.json").read_text(encoding="utf-8"))

    found, record = weights_and_record(together / "runs/small/pretrain/unremix/digits/simclr/0")
    assert not list((together / "runs/small/checkpoints").rglob("*.pt"))
    monkeypatch.chdir(together)
    grid = small_grid(together, PROJECT, "one")
    run(grid, "pretrain", JOB, Runtime())
    expected, record_of_one = weights_and_record(together / grid.trained(JOB))
    assert_equal_up_to_rounding(found, expected)
    assert (record["device"], record_of_one["device"]) == ("2 x cpu", "cpu")
    same = ("params_hash", "code_hash", "data_hash", "steps", "warnings")
    assert {name: record[name] for name in same} == {name: record_of_one[name] for name in same}


def test_a_batch_that_cannot_be_shared_is_refused_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small_grid(tmp_path, PROJECT)
    with pytest.raises(UserError, match=r"^unremix, simclr: training.batch_size = 128: 3 devices .*; 126 or 129 would"):
        handed_over(monkeypatch, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["params.yaml", "presets"]


def test_devices_do_not_share_a_batch_of_graphs(repository):
    grid = Grid(root=repository)
    graphs, images = Job("graphs", "mutag", "graphcl", 0), Job("unremix", "mnist5k", "simclr", 0)
    assert [sharing(grid.track(job.track), 3) for job in (graphs, images)] == [1, 3]
    check_batches(grid, [graphs], 3)  # whatever its batches are
    with pytest.raises(UserError, match="3 devices cannot share it equally"):
        check_batches(grid, [graphs, images], 3)


def test_a_mistake_in_the_processes_is_told_as_of_one():
    with pytest.raises(UserError, match=r"^--device tpu: must be auto, cpu or cuda$"):
        launch(resolve_device, "tpu", processes=PROCESSES, device="cpu")


def test_one_of_several_processes_writes_files(left):
    assert [each["writes"] for each in left] == [True, False] and writes_files()
