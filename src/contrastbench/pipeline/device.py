"""Which device a run computes on: resolved once, when it begins. Results name it; nothing is stale because of it."""

import importlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from contrastbench.errors import UserError
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job

DEVICE_VARIABLE = "CONTRASTBENCH_DEVICE"  # tells the jobs of a run
DEVICES_VARIABLE = "CONTRASTBENCH_DEVICES"
KNOWN = ("auto", "cpu", "cuda")
DRIVER = Path("/dev/nvidiactl")  # there where NVIDIA's driver runs


def resolve_device(device: str, asked: str = "--device ") -> str:
    """``cpu`` or ``cuda``; an unknown or absent device is a UserError that names the option ``asked``.

    Torch takes two seconds to load: it is asked only where there can be a GPU.
    """
    if device not in KNOWN:
        choice = "; CUDA_VISIBLE_DEVICES says which" if device.startswith("cuda:") else ""
        raise UserError(f"{asked}{device}: must be {', '.join(KNOWN[:-1])} or {KNOWN[-1]}{choice}")
    if device == "cpu" or (device == "auto" and not DRIVER.exists()):
        return "cpu"
    cuda = importlib.import_module("torch").cuda
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    absent = wanted[cuda.device_count() :]  # CUDA stops at the first that it does not find
    if absent and absent[0].strip().isdigit():
        raise UserError(f"CUDA_VISIBLE_DEVICES={','.join(wanted)}: there is no device {absent[0].strip()}")
    if cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise UserError(f"{asked}cuda: this machine has no usable CUDA device; use {asked}cpu")
    return "cpu"


def check_devices(devices: Any, device: str, asked: str = "--devices ") -> None:
    """Refuse more processes that train together than there are devices: GPUs, or cores of the CPU."""
    if device == "cuda":
        there, what = importlib.import_module("torch").cuda.device_count(), "CUDA devices"
    else:
        there, what = os.cpu_count() or 1, "cores"
    if type(devices) is not int or not 1 <= devices <= max(1, there):
        raise UserError(f"{asked}{devices}: must be a number from 1 to {there}, of {what} here")


def check_batches(grid: Grid, jobs: Iterable[Job], devices: int) -> None:
    """Refuse a training whose batches ``devices`` cannot share equally."""
    for job in jobs:
        for training in grid.track(job.track).pretrain(job.method, job.trained.dataset).phases():
            if training.batch_size % devices:
                below = training.batch_size // devices * devices
                fitting = f"{below} or {below + devices}" if below else str(devices)
                raise UserError(
                    f"{job.track}, {job.method}: training.batch_size = {training.batch_size}: {devices} devices cannot "
                    f"share it equally; {fitting} would do"
                )
