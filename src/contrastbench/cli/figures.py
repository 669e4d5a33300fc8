"""Command ``figures``."""

import typer

from contrastbench.cli.options import Dataset, Device, Preset, Seed, Track, resolve_device
from contrastbench.pipeline.grid import Grid


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("figures")(figures_command)


def figures_command(
    track: Track,
    dataset: Dataset,
    seed: Seed,
    preset: Preset = "default",
    device: Device = "auto",
) -> None:
    """Draw the still images of the report's gallery: reconstructions, mixtures, adversarial examples."""
    grid = Grid(preset)
    grid.track(track)
    from contrastbench.stages.figures import figures

    for path in figures(grid, track, dataset, seed, device=resolve_device(device)):
        typer.echo(f"written: {path}")
