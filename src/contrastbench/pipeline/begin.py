"""What Snakemake does before it reads the rules: take its options, fix the parameters of the run, look at the data."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from contrastbench.errors import UserError
from contrastbench.files import write_text
from contrastbench.params.root import DEFAULT, TRACKS
from contrastbench.pipeline.data_check import check_data
from contrastbench.pipeline.dates import bring_back_future_dates
from contrastbench.pipeline.device import DEVICE_VARIABLE, DEVICES_VARIABLE, resolve_device
from contrastbench.pipeline.encoder_check import check_encoders
from contrastbench.pipeline.gpus import visible_gpus
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.lock import hold_folder
from contrastbench.pipeline.loggers import hold_logger
from contrastbench.pipeline.resolved import hold
from contrastbench.pipeline.stages import TRAINING, WITH_ROWS
from contrastbench.pipeline.together import check_batches, check_devices
from contrastbench.registry import hint

OPTIONS = ("preset", "device", "devices", "log")

# glibc returns every large tensor to the kernel and faults it in again a step later; keeping the memory costs
# a quarter of a GiB per job and saves up to a seventh of the time of training on a CPU. Results do not change.
MEMORY = {"MALLOC_TOP_PAD_": 2**28, "MALLOC_TRIM_THRESHOLD_": 2**31, "MALLOC_MMAP_THRESHOLD_": 2**25}


@dataclass(frozen=True)
class Begun:
    """A run.

    gpus            how many GPUs a job on the device needs
    devices         how many devices train one encoder together
    gpu_limit       how many jobs may use at once; None where this machine does not say
    judging_stages  pattern of the stages that the rule ``judge`` covers
    validating_stages  the same of the rule ``validate``
    tracks          pattern of the tracks' names
    """

    grid: Grid
    preset: str
    gpus: int
    devices: int
    gpu_limit: int | None
    judging_stages: str
    validating_stages: str
    tracks: str


def begin(
    options: Mapping[str, Any],
    *,
    is_main_process: bool = True,
    elsewhere: bool = False,
    gpu_limit: int | None = None,
) -> Begun:
    """Begin a run with Snakemake's ``--config``; a mistake in it, in the parameters or in the data is a UserError.

    Other processes than the main one are those that Snakemake starts for a job of its own, on a cluster for instance:
    they compute on the device that the main one has chosen. Its jobs may run ``elsewhere`` than on this machine.
    ``gpu_limit`` is what Snakemake was given as ``--resources gpu=``; else it is all GPUs that are visible here.
    """
    for key in options:
        if key not in OPTIONS:
            raise UserError(f"--config {key}: unknown; {hint(key, OPTIONS)}")
    preset, device = (options.get(key, default) for key, default in (("preset", DEFAULT), ("device", "auto")))
    if not isinstance(preset, str) or preset == "":  # Snakemake reads 010 as a number
        shown = "" if preset is None else preset
        raise UserError(f"--config preset={shown}: must be the name of a preset, which begins with a letter")
    grid = Grid(preset)
    params = grid.params
    on = os.environ.get(DEVICE_VARIABLE, "") if not is_main_process else ""
    on = on or resolve_device("" if device is None else str(device), "--config device=", elsewhere=elsewhere)
    here = is_main_process and not elsewhere
    if on == "cuda" and here:
        gpu_limit = _gpu_limit(gpu_limit)
    hold_logger(options.get("log"))
    devices = options.get("devices", 1)
    there = gpu_limit if on == "cuda" else os.cpu_count()
    check_devices(devices, on, there if here else None, "--config devices=")
    for track in params.tracks:
        trained = [job for stage in TRAINING for job in grid.jobs(stage, track)]
        check_batches(grid, trained, devices)
        if is_main_process:
            check_encoders(grid, trained)
    check_data(grid)
    if is_main_process:
        hold_folder()
        bring_back_future_dates()
        if not grid.layout.begun.is_file():
            write_text(grid.layout.begun, "")
    hold(grid.preset, params)
    os.environ[DEVICE_VARIABLE] = on
    os.environ[DEVICES_VARIABLE] = str(devices)
    os.environ["DVC_NO_ANALYTICS"] = "1"
    for name, value in MEMORY.items():
        os.environ.setdefault(name, str(value))
    judging = "|".join(stage.name for stage in WITH_ROWS if stage.rule == "judge")
    validating = "|".join(stage.name for stage in WITH_ROWS if stage.rule == "validate")
    return Begun(grid, grid.preset, int(on == "cuda"), devices, gpu_limit, judging, validating, "|".join(TRACKS))


def _gpu_limit(given: int | None) -> int | None:
    """How many GPUs jobs of this machine may use at once: as many as are given, or all; none is a UserError.

    Snakemake itself would take ``gpu=0`` to mean that jobs need none.
    """
    there = len(visible_gpus())
    if given is None:
        return there or None  # without nvidia-smi nobody knows
    if given < 1 or (there and given > there):
        raise UserError(f"--resources gpu={given}: must be from 1 to {there or 'all'}, the GPUs visible here")
    return given
