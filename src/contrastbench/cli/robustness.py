"""Commands ``attack`` and ``transfer-attack``."""

import typer

from contrastbench.cli.options import Dataset, Device, MethodName, Preset, Seed, Track, resolve_device
from contrastbench.pipeline.data_check import verify_data
from contrastbench.pipeline.grid import Grid


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command("attack")(attack_command)
    app.command("transfer-attack")(transfer_attack_command)


def attack_command(
    track: Track,
    dataset: Dataset,
    method: MethodName,
    seed: Seed,
    preset: Preset = "default",
    device: Device = "auto",
) -> None:
    """Fit classifiers on one trained encoder and attack them; a killed run continues where it stood."""
    grid = Grid(preset)
    job = grid.job(track, dataset, method, seed)
    verify_data(grid, [grid.data_folder(job)])
    from contrastbench.stages.attack import attack

    attack(grid, job, device=resolve_device(device), progress=typer.echo)


def transfer_attack_command(
    track: Track,
    dataset: Dataset,
    seed: Seed,
    preset: Preset = "default",
    device: Device = "auto",
) -> None:
    """Attack every attacked method with the images crafted on every other; writes result rows."""
    grid = Grid(preset)
    grid.track(track)
    verify_data(grid, [grid.layout.prepared(dataset)])
    from contrastbench.stages.transfer_attack import transfer_attack

    transfer_attack(grid, track, dataset, seed, device=resolve_device(device))
