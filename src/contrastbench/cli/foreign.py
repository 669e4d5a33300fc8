"""Command ``attack-model``: the robustness suite on a classifier that was trained elsewhere."""

from __future__ import annotations

import gc
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contrastbench.cli.console import for_console
from contrastbench.cli.options import Device, Preset
from contrastbench.errors import UserError
from contrastbench.files import behind_link, write_text
from contrastbench.jobs.runtime import Runtime
from contrastbench.params.values import MOST_SEEDS
from contrastbench.pipeline.data_check import verify_data
from contrastbench.pipeline.device import claim_device
from contrastbench.pipeline.grid import Grid
from contrastbench.results.metrics import METRICS
from contrastbench.results.rows import Row, rows_text

if TYPE_CHECKING:
    from rich.table import Table

Weights = Annotated[Path, typer.Option(help="A .safetensors file, or a state_dict that torch.save wrote.")]
Architecture = Annotated[
    str, typer.Option(help="resnet-slim, resnet18 or resnet50 (CIFAR stem), torchvision/NAME or timm/NAME.")
]
Data = Annotated[str, typer.Option(help="The prepared data set whose test images are attacked.")]
RadiusOf = Annotated[str | None, typer.Option(help="Take the radii of this data set; those of --data if not given.")]
Width = Annotated[int | None, typer.Option(help="Channels of the first stage of a resnet; 64 if not given.")]
StemStride = Annotated[int | None, typer.Option(help="Stride of the first convolution of a resnet; 1 if not given.")]
Numbers = typer.Option(
    metavar="A,B,C", help="Of the pixels in [0, 1], before the network; not normalised if not given."
)
Output = Annotated[Path | None, typer.Option(help="Also write the rows: .jsonl or .csv.")]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("attack-model")(attack_model_command)


def attack_model_command(
    weights: Weights,
    architecture: Architecture,
    data: Data,
    width: Width = None,
    stem_stride: StemStride = None,
    mean: Annotated[str | None, Numbers] = None,
    std: Annotated[str | None, Numbers] = None,
    radius_of: RadiusOf = None,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEEDS - 1, help="Which test images are attacked.")] = 0,
    track: Annotated[str, typer.Option(help="The track whose section `robustness` says what is run.")] = "swaro",
    preset: Preset = "default",
    device: Device = "auto",
    output: Output = None,
) -> None:
    """Attack a classifier that was trained elsewhere with the whole robustness suite, and print its rows.

    Nothing enters results/. A killed run continues where it stopped.
    """
    if output is not None and output.suffix not in (".jsonl", ".csv"):
        raise UserError(f"--output {output}: must end in .jsonl or .csv")
    grid = Grid(preset)
    grid.reader(data)
    statistics = _numbers("--mean", mean), _numbers("--std", std)
    verify_data([grid.layout.prepared(data)])
    on = claim_device(device)
    from contrastbench.models.foreign import Network
    from contrastbench.stages.attack_model import attack_model

    gc.enable()
    # As it was written before `encoder.architecture` could name a library's.
    architecture = re.sub("^(timm|torchvision):", r"\1/", architecture)
    network = Network(architecture, width, stem_stride, *statistics)
    rows = attack_model(grid, track, data, weights, network, radius_of or data, seed, Runtime(on, typer.echo))
    typer.echo(for_console(_table(rows, f"{weights} on {data}"), *_failed(rows)), nl=False)
    if output is not None:
        write_text(behind_link(output), rows_text(rows) if output.suffix == ".jsonl" else _csv(rows))
        typer.echo(f"written: {output} ({len(rows)} rows)")


def _numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    try:
        return None if text is None else tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"{option} {text}: must be numbers with commas between them, such as 0.49,0.48,0.45") from None


def _table(rows: list[Row], title: str) -> Table:
    from rich.table import Table

    table = Table("protocol", "metric", "images", "value", "95 % interval", "", title=title)
    for row in rows:
        metric = METRICS[row.metric]
        interval = "" if row.interval is None else " to ".join(map(metric.text, row.interval))
        mark = "failed checks" if "failed_checks" in row.detail else ""
        table.add_row(row.protocol.name, metric.label, str(row.n), metric.text(row.value), interval, mark)
    return table


def _failed(rows: list[Row]) -> list[str]:
    """Each failed check once, as a line."""
    return list(dict.fromkeys(f"failed: {line}" for row in rows for line in row.detail.get("failed_checks", [])))


def _csv(rows: list[Row]) -> str:
    import csv
    import io

    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["protocol", "metric", "n", "value", "low", "high", "failed_checks"])
    for row in rows:
        ends = row.interval or ("", "")
        checks = "; ".join(row.detail.get("failed_checks", []))
        table.writerow([row.protocol.name, row.metric, row.n, row.value, *ends, checks])
    return text.getvalue()
