"""One command per stage, from the table of stages: ``contrastbench STAGE TRACK DATASET METHOD SEED``."""

import contextlib
import gc
import re
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from contrastbench import own
from contrastbench.cli.options import (
    Dataset,
    DeclaringPreset,
    Device,
    Devices,
    Log,
    MethodName,
    Mirror,
    OptionalSeeds,
    Pair,
    Preset,
    Seed,
    State,
    Track,
)
from contrastbench.errors import UserError
from contrastbench.jobs.runtime import Runtime
from contrastbench.params.audio_track import AudioPretrainParams
from contrastbench.params.plugins import file_of
from contrastbench.params.root import DEFAULT, declarations
from contrastbench.pipeline.by_hand import note_data
from contrastbench.pipeline.data_check import check_batch_of_graphs, check_declarations, check_image_size, verify_data
from contrastbench.pipeline.device import claim_device, count_devices
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import ALL, Job
from contrastbench.pipeline.loggers import resolve_logger
from contrastbench.pipeline.measured import measured_here, write_receipt
from contrastbench.pipeline.resolved import hold
from contrastbench.pipeline.stages import STAGES, TRAINING, Scope, Stage
from contrastbench.pipeline.together import check_batches, check_devices, sharing
from contrastbench.results.load import parse_all
from contrastbench.results.rows import Row, write_rows

Figure = Annotated[str, typer.Argument(help="reconstructions, mixtures, adversarial-examples or views.")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command("prepare")(prepare_command)
    app.command("spectrograms")(spectrograms_command)
    for stage in STAGES.values():
        if stage.leaves or stage.rows:
            make = _of_all_methods if stage.scope is Scope.METHODS else _of_one_method
            make = _training if stage.name in TRAINING else make
            app.command(stage.command, help=stage.says)(make(stage))
    app.command("figures")(figures_command)


def prepare_command(dataset: Dataset, mirror: Mirror = None, preset: DeclaringPreset = None) -> None:
    """Fetch a data set if need be, or read one of your own, and write its memory-mapped arrays into data/prepared."""
    grid = Grid(preset or next(iter(declarations(dataset)), DEFAULT))
    grid.reader(dataset)
    check_declarations(grid, dataset)
    _call("prepare", grid, Job("", dataset), Runtime(tell=typer.echo, show_progress=True, mirror=mirror))
    note_data(grid.layout.prepared(dataset), grid.prepare_state(dataset))


def spectrograms_command(track: Track, dataset: Dataset, preset: Preset = "default") -> None:
    """Write the normalised log-mel segments of a prepared audio data set into data/spectrograms."""
    grid = Grid(preset)
    grid.reader(dataset)
    grid.sound(track)
    _call("spectrograms", grid, Job(track, dataset), Runtime(tell=typer.echo))
    note_data(grid.layout.spectrograms(track, dataset), grid.spectrogram_state(track))


def figures_command(
    track: Track, dataset: Dataset, figure: Figure, seed: Seed, preset: Preset = "default", device: Device = "auto"
) -> None:
    """Draw a still image of the report's gallery: reconstructions, mixtures, adversarial examples or views."""
    grid = Grid(preset)
    grid.track(track)
    verify_data([path.parent for path in grid.figure_inputs(track, dataset, figure, seed) if path.name == "meta.json"])
    _call("figures", grid, Job(track, dataset, figure, seed), Runtime(claim_device(device), typer.echo))


def _training(stage: Stage) -> Callable[..., None]:
    def command(
        track: Track,
        dataset: Dataset,
        method: MethodName,
        seeds: OptionalSeeds = None,
        preset: Preset = "default",
        device: Device = "auto",
        devices: Devices = 1,
        log: Log = None,
        state: State = None,
    ) -> None:
        logger = resolve_logger(log)
        grid = Grid(preset)
        whole = grid.job(stage.name, track, dataset, method)
        if grid.pretrain_params(whole) is not None and grid.training_stage(whole) != stage.name:
            right = " ".join([grid.training_stage(whole), track, dataset, method, *map(str, seeds or ())])
            raise UserError(f"{method}: is not trained by {stage.name}; run `contrastbench {right} --preset {preset}`")
        jobs = [grid.job(stage.name, track, dataset, method, seed) for seed in seeds or grid.track(track).seeds]
        on = claim_device(device, max(1, devices))
        check_devices(devices, on, count_devices(on))
        check_batches(grid, jobs, devices)
        devices = sharing(grid.track(track), devices)
        for job in jobs:
            _require_state(grid, stage, job, state)
            check_image_size(grid, job.track, job.dataset)
            check_batch_of_graphs(grid, job.track, job.dataset)
            _verify(grid, stage, job)
            if devices == 1:
                _train(stage, job, grid, on, logger)
            else:
                _train_together(stage, job, grid, on, logger, devices)

    return command


def _train(stage: Stage, job: Job, grid: Grid, device: str, logger: str | None) -> None:
    if stage.name == "pretrain":
        _check_import(grid, job)
    with contextlib.ExitStack() as stack:
        if logger is not None:
            from contrastbench.loggers import followed  # torch

            stack.enter_context(followed(logger, grid, job, typer.echo))
        _call(stage.name, grid, job, Runtime(device, typer.echo, show_progress=True))


def _check_import(grid: Grid, job: Job) -> None:
    """Refuse a file that ``mae`` would import values from that are not finite; have it take AudioMAE's own files.

    Its reader (models/vit_checkpoint.py) is part of the code that recorded rows name, and so stays as it is.
    """
    params = grid.track(job.track).pretrain(job.method, job.dataset)
    if isinstance(params, AudioPretrainParams) and params.method == "mae" and params.checkpoint is not None:
        from contrastbench.models.checkpoints import allow_harmless, read_weights

        read_weights(Path(params.checkpoint))
        allow_harmless()


def _train_together(stage: Stage, job: Job, grid: Grid, device: str, logger: str | None, devices: int) -> None:
    """In processes that go by the parameters that are held here: a grid's own cannot be pickled."""
    from contrastbench.training.processes import launch  # torch

    hold(grid.preset, grid.params)
    launch(_train_in_process, stage, job, grid.preset, device, logger, processes=devices, device=device)


def _train_in_process(stage: Stage, job: Job, preset: str, device: str, logger: str | None) -> None:
    _train(stage, job, Grid(preset), device, logger)


def _of_one_method(stage: Stage) -> Callable[..., None]:
    kind: Any = Pair if stage.takes_pairs else Dataset

    def command(
        track: Track,
        dataset: kind,
        method: MethodName,
        seeds: OptionalSeeds = None,
        preset: Preset = "default",
        device: Device = "auto",
        state: State = None,
    ) -> None:
        grid = Grid(preset)
        whole, on = grid.job(stage.name, track, dataset, method), claim_device(device)
        chosen = [grid.job(stage.name, track, dataset, method, seed) for seed in seeds or grid.track(track).seeds]
        if stage.scope is Scope.SEEDS:
            _require_state(grid, stage, whole, state)
            _judge(grid, stage, whole, chosen, on)
            return
        for job in chosen:
            _require_state(grid, stage, job, state)
            if stage.rows:
                _judge(grid, stage, job, [job], on)
            else:
                _run(grid, stage, job, on)

    return command


def _of_all_methods(stage: Stage) -> Callable[..., None]:
    def command(
        track: Track,
        dataset: Dataset,
        seed: Seed,
        preset: Preset = "default",
        device: Device = "auto",
        state: State = None,
    ) -> None:
        grid = Grid(preset)
        job = grid.job(stage.name, track, dataset, seed=seed)
        _require_state(grid, stage, job, state)
        _judge(grid, stage, job, [job], claim_device(device))

    return command


def _require_state(grid: Grid, stage: Stage, job: Job, state: str | None) -> None:
    """Refuse a job whose code is not what it was when Snakemake read the graph: its rows would name the wrong code."""
    if state is not None and state != grid.state(stage.name, job):
        raise UserError(f"{stage.name} {job.name}: the code has changed since this run began; start it again")


def _run(grid: Grid, stage: Stage, job: Job, device: str) -> Any:
    """What the stage returns, on verified data."""
    _verify(grid, stage, job)
    return _call(stage.name, grid, job, Runtime(device, typer.echo))


def _verify(grid: Grid, stage: Stage, job: Job) -> None:
    verify_data([path.parent for path in grid.inputs(stage.name, job) if path.name == "meta.json"])


def _call(name: str, grid: Grid, job: Job, runtime: Runtime) -> Any:
    stage = getattr(import_module(f"contrastbench.stages.{name}"), name)
    gc.freeze()  # what was imported is not looked at again
    gc.enable()
    try:
        return stage(grid, job, runtime)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported here
            raise UserError(_out_of_memory(name, job, str(error))) from error
        place = own.failed_at(error) or _own_file(name, grid, job)
        if place is None:
            raise
        sys.stdout.flush()  # in a file, what was printed stands above
        traceback.print_exc()
        told = job.name if job.track else job.dataset
        raise UserError(f"{name} {told}: {place}: {own.said(error)} (the traceback is above)") from error


def _own_file(name: str, grid: Grid, job: Job) -> str | None:
    """The user's own file that the stage ``name`` is about, if there is one: for what is called, and takes no call."""
    if name == "prepare":
        return file_of("data set", job.dataset)
    params = grid.pretrain_params(job) if name in STAGES and job.method != ALL else None
    return None if params is None else file_of("method", params.method)


def _out_of_memory(name: str, job: Job, reason: str) -> str:
    asked = re.search(r"[Tt]ried to allocate ([\d.]+ \w+)", reason)
    size = f" ({asked[1]} more were asked for)" if asked else ""
    lower = f"lower {STAGES[name].batch}, or use" if STAGES[name].batch else "use"
    return (
        f"{name} {job.name}: the GPU is out of memory{size}; {lower} a GPU with more memory, or --config device=cpu, "
        "and start again: the run resumes, what is finished stays"
    )


def _judge(grid: Grid, stage: Stage, whole: Job, chosen: list[Job], device: str) -> None:
    """Write the rows of ``chosen`` into the file of ``whole``; rows of other seeds that lie there stay.

    A receipt beside the runs says that the file was measured here: the committed rows of a clone have none, nor does a
    file that still holds some of them.
    """
    path = grid.layout.rows(stage.name, whole)
    rows: list[Row] = [row for job in chosen for row in _run(grid, stage, job, device)]
    seeds = {job.seed for job in chosen}
    there = parse_all({path.as_posix(): path.read_bytes()}).rows if path.is_file() else []
    others = [row for row in there if row.seed not in seeds]
    all_measured = not others or measured_here(grid.layout, path)
    write_rows(path, [*others, *rows])
    if all_measured:
        write_receipt(grid.layout, path)
    typer.echo(f"written: {path} ({len(rows)} rows)")
