"""Which device a run computes on: resolved once, when it begins. Results name it; nothing is stale because of it."""

import importlib
import os
from pathlib import Path

from contrastbench.errors import UserError
from contrastbench.pipeline.gpus import VISIBLE, claim_gpus

DEVICE_VARIABLE = "CONTRASTBENCH_DEVICE"  # tells the jobs of a run
DEVICES_VARIABLE = "CONTRASTBENCH_DEVICES"
KNOWN = ("auto", "cpu", "cuda")
DRIVER = Path("/dev/nvidiactl")  # there where NVIDIA's driver runs


def resolve_device(device: str, asked: str = "--device ", *, elsewhere: bool = False) -> str:
    """``cpu`` or ``cuda``; an unknown or absent device is a UserError that names the option ``asked``.

    Torch takes two seconds to load: it is asked only where there can be a GPU. Of a computation ``elsewhere`` this
    machine says nothing: ``cuda`` is believed, and ``auto`` is ``cpu``.
    """
    if device not in KNOWN:
        which = f"; to choose among GPUs, set {VISIBLE}" if device.startswith("cuda") else ""
        raise UserError(f"{asked}{device}: must be {', '.join(KNOWN[:-1])} or {KNOWN[-1]}{which}")
    if elsewhere:
        return "cuda" if device == "cuda" else "cpu"
    if device == "cpu" or (device == "auto" and not DRIVER.exists()):
        return "cpu"
    if importlib.import_module("torch").cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise UserError(f"{asked}cuda: this machine has no usable CUDA device; use {asked}cpu")
    return "cpu"


def claim_device(device: str, gpus: int = 1) -> str:
    """``cpu`` or ``cuda`` for a process that computes: of the GPUs it sees those that it claims, ``gpus`` of them."""
    if device == "cuda" or (device == "auto" and DRIVER.exists()):
        claim_gpus(gpus)
    return resolve_device(device)


def count_devices(device: str) -> int:
    """How many GPUs this process sees, or how many cores there are."""
    return importlib.import_module("torch").cuda.device_count() if device == "cuda" else os.cpu_count() or 1
