"""A GPU that is out of memory is the user's matter, told in one line; extraction of features helps itself."""

import numpy as np
import pytest
import torch
from small_project import run, small_grid
from torch import nn

from contrastbench.cli.stages import _call
from contrastbench.errors import UserError
from contrastbench.evaluation.features import extract_features
from contrastbench.jobs.runtime import Runtime
from contrastbench.methods.simclr import SimCLR
from contrastbench.pipeline.layout import Job

CUDA = (
    "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.11 GiB of which 1.75 GiB is "
    "free. Including non-PyTorch memory, this process has 77.35 GiB memory in use."
)
JOB = Job("unremix", "digits", "simclr", 0)


def test_a_step_that_finds_no_memory_is_one_line_and_the_run_resumes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    training = {"max_steps": 4, "checkpoint_every_steps": 2, "log_every_steps": 1}
    grid = small_grid(tmp_path, {"unremix": {"training": training}})
    run(grid, "prepare", Job("", "digits"))
    step = SimCLR.training_step
    numbers = []

    def full(method, batch, current):
        numbers.append(current.number)
        if current.number == 3 and numbers.count(3) == 1:
            raise torch.OutOfMemoryError(CUDA)
        return step(method, batch, current)

    monkeypatch.setattr(SimCLR, "training_step", full)
    with pytest.raises(UserError) as caught:
        _call("pretrain", grid, JOB, Runtime())
    told = str(caught.value)
    assert told.startswith(
        "pretrain unremix digits simclr 0: the GPU is out of memory (2.50 GiB more were asked for); "
    )
    assert "lower training.batch_size, or use a GPU with more memory" in told and "the run resumes" in told
    assert "\n" not in told
    _call("pretrain", grid, JOB, Runtime())
    assert numbers == [0, 1, 2, 3, 2, 3]


@pytest.mark.parametrize(
    ("stage", "advice"),
    [
        ("tune", "lower training.batch_size of the step, or use a GPU"),
        ("attack", "lower robustness.batch_size, or use a GPU"),
        ("transfer_attack", "lower robustness.batch_size, or use a GPU"),
        ("probe", "memory; use a GPU with more memory"),
    ],
)
def test_each_stage_names_its_own_parameter(monkeypatch, stage, advice):
    from importlib import import_module

    def full(*_):
        raise torch.OutOfMemoryError("HIP out of memory" if stage == "probe" else CUDA)

    monkeypatch.setattr(import_module(f"contrastbench.stages.{stage}"), stage, full)
    with pytest.raises(UserError, match=advice):
        _call(stage, None, JOB, Runtime())


def test_another_fault_stays_a_fault(tmp_path, monkeypatch):
    from contrastbench.stages import probe

    def broken(*_):
        raise RuntimeError("Tried to allocate nothing")

    monkeypatch.setattr(probe, "probe", broken)
    with pytest.raises(RuntimeError, match="Tried to allocate nothing"):
        _call("probe", small_grid(tmp_path, {}), JOB, Runtime())


class Narrow(nn.Module):
    """Holds ``most`` examples at once."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.sizes = most, []

    def forward(self, x):
        if len(x) > self.most:
            raise torch.OutOfMemoryError(CUDA)
        self.sizes.append(len(x))
        return x.flatten(1)


def test_features_come_in_batches_that_fit():
    x = np.arange(600 * 4, dtype=np.float32).reshape(600, 4)

    def extract(encoder):
        return extract_features(
            encoder, x, lambda rows, device: torch.from_numpy(rows).to(device), device=torch.device("cpu")
        )

    encoder = Narrow(100)
    assert np.array_equal(extract(encoder), x)
    assert encoder.sizes == [64] * 9 + [24]
    with pytest.raises(torch.OutOfMemoryError):
        extract(Narrow(0))
