"""Commands ``spectrograms``, ``few-shot``, ``low-shot`` and ``audio-attack``."""

from typing import Annotated, Any

import typer

from contrastbench.cli.options import Dataset, Device, MethodName, Preset, Seeds, resolve_device
from contrastbench.pipeline.data_check import verify_data
from contrastbench.pipeline.grid import Grid
from contrastbench.registry import dataset_module

TRACK = "uamix"
Judged = Annotated[str, typer.Argument(help="The data set to judge on; its spectrograms must exist.")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command("spectrograms")(spectrograms_command)
    app.command("few-shot")(few_shot_command)
    app.command("low-shot")(low_shot_command)
    app.command("audio-attack")(audio_attack_command)


def _track(grid: Grid) -> Any:
    """The audio track's section; every track has a class of its own, and the name alone does not tell which."""
    return grid.track("uamix")


def spectrograms_command(dataset: Dataset, preset: Preset = "default") -> None:
    """Write the normalised log-mel segments of a prepared audio data set into data/spectrograms."""
    grid = Grid(preset)
    dataset_module(dataset)
    front_end = _track(grid).front_end
    from contrastbench.stages.spectrograms import spectrograms

    folder = grid.layout.spectrograms(dataset)
    meta = spectrograms(grid.layout.prepared(dataset), folder, front_end)
    counts = ", ".join(f"{split} {facts.count:,}" for split, facts in meta.splits.items())
    typer.echo(f"{folder}: segments: {counts}; data hash {meta.hash}")


def few_shot_command(
    dataset: Dataset,
    judged: Judged,
    method: MethodName,
    seeds: Seeds,
    preset: Preset = "default",
    device: Device = "auto",
) -> None:
    """Judge encoders on N-way K-shot episodes; writes result rows."""
    grid = Grid(preset)
    jobs = [grid.job(TRACK, dataset, method, seed) for seed in seeds]
    params = _track(grid).few_shot
    dataset_module(judged)
    verify_data(grid, [grid.layout.spectrograms(judged)])
    from contrastbench.stages.few_shot import few_shot

    for job in jobs:
        few_shot(grid, job, judged, params, resolve_device(device))


def low_shot_command(
    dataset: Dataset,
    judged: Judged,
    method: MethodName,
    seeds: Seeds,
    preset: Preset = "default",
    device: Device = "auto",
) -> None:
    """Judge encoders with a few labels per class; writes result rows."""
    grid = Grid(preset)
    jobs = [grid.job(TRACK, dataset, method, seed) for seed in seeds]
    params = _track(grid).low_shot
    dataset_module(judged)
    verify_data(grid, [grid.layout.spectrograms(judged)])
    from contrastbench.stages.low_shot import low_shot

    for job in jobs:
        low_shot(grid, job, judged, params, resolve_device(device))


def audio_attack_command(
    dataset: Dataset,
    judged: Judged,
    method: MethodName,
    seeds: Seeds,
    preset: Preset = "default",
    device: Device = "auto",
) -> None:
    """Attack a linear classifier of sound, on its spectrograms and on the waveform; writes result rows."""
    grid = Grid(preset)
    jobs = [grid.job(TRACK, dataset, method, seed) for seed in seeds]
    params = _track(grid)
    dataset_module(judged)
    verify_data(grid, [grid.layout.spectrograms(judged), grid.layout.prepared(judged)])
    from contrastbench.stages.audio_attack import audio_attack

    for job in jobs:
        audio_attack(grid, job, judged, params.audio_attack, params.front_end, resolve_device(device))
