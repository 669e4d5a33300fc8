"""Commands ``tune`` and ``export-encoder``."""

from pathlib import Path
from typing import Annotated

import typer

from contrastbench.cli.options import Dataset, Device, MethodName, Preset, Seed, Track, resolve_device
from contrastbench.errors import UserError
from contrastbench.files import behind_link
from contrastbench.pipeline.grid import Grid


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command("tune")(tune_command)
    app.command("export-encoder")(export_command)


def tune_command(
    track: Track,
    dataset: Dataset,
    method: MethodName,
    seed: Seed,
    preset: Preset = "default",
    device: Device = "auto",
) -> None:
    """Tune the audio MAE of the same data set and seed in two steps; a killed run continues from its checkpoint."""
    grid = Grid(preset)
    job = grid.job(track, dataset, method, seed)
    params = grid.pretrain_params(job)
    if params is None:
        raise typer.BadParameter(f"{method} is a reference row without an encoder: there is nothing to tune")
    from contrastbench.stages.tune import tune

    tune(grid.layout, job, params, grid.data_folder(job), device=resolve_device(device))


def export_command(
    dataset: Dataset,
    method: MethodName,
    seed: Seed,
    target: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    preset: Preset = "default",
) -> None:
    """Write a trained audio encoder (track uamix) in timm's format, for use outside this suite."""
    grid = Grid(preset)
    job = grid.job("uamix", dataset, method, seed)
    params = grid.pretrain_params(job)
    if params is None:
        raise UserError(f"{method}: a reference row without an encoder; there is nothing to export")
    from contrastbench.datasets.store import open_prepared
    from contrastbench.jobs.runs import load_method
    from contrastbench.models.vit import AudioViT
    from contrastbench.models.vit_checkpoint import export_encoder

    data = open_prepared(grid.data_folder(job))
    encoder = load_method(grid.trained(job), params, data, seed).encoder
    assert isinstance(encoder, AudioViT)
    export_encoder(encoder, behind_link(target))
    typer.echo(f"{target}: {encoder.features} features of {encoder.patch_embed.img_size} spectrograms")
