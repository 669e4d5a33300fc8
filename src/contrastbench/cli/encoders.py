"""Command ``export-encoder``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from contrastbench.cli.options import Dataset, MethodName, Preset, Seed, Track
from contrastbench.errors import UserError
from contrastbench.files import behind_link, replacing, write_bytes
from contrastbench.pipeline.asked import rows_that_count
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.records import trained_record


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("export-encoder")(export_command)


def export_command(
    track: Track,
    dataset: Dataset,
    method: MethodName,
    seed: Seed,
    target: Annotated[
        Path, typer.Argument(help="A new folder: weights, config.json, model card. Or a .safetensors file: weights.")
    ],
    preset: Preset = "default",
) -> None:
    """Write a trained encoder for use outside this suite: in the names of timm and torchvision, without classifier.

    A folder is laid out as timm and the Hugging Face Hub have it.
    """
    grid = Grid(preset)
    job = grid.job("features", track, dataset, method, seed)
    if target.suffix != ".safetensors" and target.exists():
        raise UserError(f"{target}: exists already; name a new folder, or a .safetensors file")
    params = grid.pretrain_params(job)
    from safetensors.torch import save

    from contrastbench.jobs.weights import load_trained, training_data
    from contrastbench.modalities import modality_of
    from contrastbench.models.export import CONFIG, WEIGHTS, exported
    from contrastbench.reporting.model_card import model_card

    data, encoder = training_data(grid, job), load_trained(grid, job).encoder
    shape = modality_of(data).input_shape(data)
    found = exported(encoder, getattr(params, "encoder", None), shape, data.meta.front_end)
    if target.suffix == ".safetensors":
        write_bytes(behind_link(target), save(found.state))
    else:
        rows = rows_that_count(preset=preset)
        card = model_card(job, preset, trained_record(grid, job), rows, found.usage, library=found.library)
        with replacing(target) as folder:
            folder.mkdir()
            (folder / WEIGHTS).write_bytes(save(found.state))
            (folder / CONFIG).write_text(json.dumps(found.config, indent=2) + "\n", encoding="utf-8")
            (folder / "README.md").write_text(card, encoding="utf-8")
    typer.echo(f"{target}: {encoder.features} features of inputs of {' x '.join(map(str, shape))}")
