"""Commands ``pretrain``, ``features``, ``probe`` and ``transfer-probe``."""

from typing import Annotated

import typer

from contrastbench.cli.options import Dataset, Device, MethodName, Preset, Seed, Seeds, Track, resolve_device
from contrastbench.errors import UserError
from contrastbench.pipeline.data_check import check_image_size, verify_data
from contrastbench.pipeline.grid import Grid
from contrastbench.registry import WITHOUT_ENCODER


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command("pretrain")(pretrain_command)
    app.command("features")(features_command)
    app.command("probe")(probe_command)
    app.command("transfer-probe")(transfer_probe_command)


def pretrain_command(
    track: Track,
    dataset: Dataset,
    method: MethodName,
    seed: Seed,
    preset: Preset = "default",
    device: Device = "auto",
) -> None:
    """Train one method on one data set with one seed; a killed run continues from its checkpoint."""
    grid = Grid(preset)
    job = grid.job(track, dataset, method, seed)
    if method in WITHOUT_ENCODER:
        raise UserError(f"{method}: a reference row without an encoder; there is nothing to train")
    params = grid.track(track).pretrain(method, dataset)
    on = resolve_device(device)
    check_image_size(grid, track, dataset)
    from contrastbench.stages.pretrain import pretrain

    pretrain(grid.layout, job, params, grid.data_folder(job), device=on)


def features_command(
    track: Track,
    dataset: Dataset,
    method: MethodName,
    seeds: Seeds,
    preset: Preset = "default",
    device: Device = "auto",
) -> None:
    """Extract the frozen features of trained encoders, for every split."""
    grid = Grid(preset)
    jobs = [grid.job(track, dataset, method, seed) for seed in seeds]
    verify_data(grid, [grid.data_folder(jobs[0])])
    from contrastbench.stages.features import features

    for job in jobs:
        features(grid, job, device=resolve_device(device))


def probe_command(
    track: Track,
    dataset: Dataset,
    method: MethodName,
    seeds: Seeds,
    preset: Preset = "default",
) -> None:
    """Judge cached features: linear probe, low-label probe and kNN; writes result rows."""
    grid = Grid(preset)
    jobs = [grid.job(track, dataset, method, seed) for seed in seeds]
    verify_data(grid, [grid.data_folder(jobs[0])])
    from contrastbench.stages.probe import probe

    for job in jobs:
        probe(grid, job)


def transfer_probe_command(
    track: Track,
    dataset: Dataset,
    probed: Annotated[str, typer.Argument(help="The data set to probe on.")],
    method: MethodName,
    seeds: Seeds,
    preset: Preset = "default",
    device: Device = "auto",
) -> None:
    """Judge encoders on another data set than they were trained on; writes result rows."""
    grid = Grid(preset)
    jobs = [grid.job(track, dataset, method, seed) for seed in seeds]
    from contrastbench.stages.transfer_probe import transfer_probe

    transfer = grid.transfer(track, dataset, probed)
    verify_data(grid, map(grid.layout.prepared, (dataset, probed)))
    for job in jobs:
        transfer_probe(grid, job, transfer, resolve_device(device))
