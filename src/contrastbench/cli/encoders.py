"""Command ``export-encoder``."""

from pathlib import Path
from typing import Annotated

import typer

from contrastbench.cli.options import Dataset, MethodName, Preset, Seed, Track
from contrastbench.errors import UserError
from contrastbench.files import behind_link
from contrastbench.pipeline.grid import Grid


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("export-encoder")(export_command)


def export_command(
    track: Track,
    dataset: Dataset,
    method: MethodName,
    seed: Seed,
    target: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    preset: Preset = "default",
) -> None:
    """Write a trained audio encoder in timm's format, for use outside this suite."""
    grid = Grid(preset)
    job = grid.job("features", track, dataset, method, seed)
    from contrastbench.jobs.weights import load_trained
    from contrastbench.models.vit import AudioViT
    from contrastbench.models.vit_checkpoint import export_encoder

    encoder = load_trained(grid, job).encoder
    if not isinstance(encoder, AudioViT):
        raise UserError(f"{job.name}: not a ViT; only encoders of sound are exported")
    export_encoder(encoder, behind_link(target))
    typer.echo(f"{target}: {encoder.features} features of {encoder.patch_embed.img_size} spectrograms")
