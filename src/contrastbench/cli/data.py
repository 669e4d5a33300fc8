"""Commands ``fetch``, ``prepare`` and ``list``."""

from pathlib import Path
from typing import Annotated

import typer

from contrastbench.cli.options import Dataset
from contrastbench.datasets import adapter
from contrastbench.params.root import load
from contrastbench.pipeline.layout import Layout
from contrastbench.registry import DATASETS, METHODS, WITHOUT_ENCODER, dataset_module

Mirror = Annotated[
    Path | None, typer.Option(help="Folder with official archives; else the variable CONTRASTBENCH_MIRROR.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command("fetch")(fetch_command)
    app.command("prepare")(prepare_command)
    app.command("list")(list_command)


def fetch_command(dataset: Dataset, mirror: Mirror = None) -> None:
    """Get a data set's official archives into data/raw and verify their hashes."""
    from contrastbench.datasets.fetch import fetch

    dataset_module(dataset)
    paths = fetch(adapter(dataset), Layout("default").raw(dataset), mirror)
    typer.echo("\n".join(f"verified: {path}" for path in paths) or f"{dataset}: nothing to fetch")


def prepare_command(dataset: Dataset, mirror: Mirror = None) -> None:
    """Fetch a data set if need be and write its memory-mapped arrays into data/prepared."""
    from contrastbench.stages.prepare import prepare

    dataset_module(dataset)
    layout = Layout("default")
    meta = prepare(dataset, layout.raw(dataset), layout.prepared(dataset), load().data, mirror)
    counts = ", ".join(f"{split} {facts.count:,}" for split, facts in meta.splits.items())
    skipped = sum(map(len, meta.skipped.values()))
    note = f"; {skipped} bad clips skipped, named in meta.json" if skipped else ""
    typer.echo(f"{layout.prepared(dataset)}: {counts}; data hash {meta.hash}{note}")


def list_command() -> None:
    """Show data sets, methods and protocols."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table("data set", "modality", "classes", "source", "licence", title="Data sets")
    for name in DATASETS:
        source = adapter(name)
        table.add_row(name, source.modality, str(len(source.classes)), source.source, source.licence)
    console.print(table)
    console.print(f"[bold]Methods[/bold]: {', '.join([*WITHOUT_ENCODER, *METHODS])}")
    params = load()
    for track in params.tracks:
        variants = ", ".join(params.track(track).variants)
        console.print(f"[bold]Variants of {track}[/bold]: {variants or 'none'}")
    console.print(
        "[bold]Protocols[/bold]: linear, low-label-N, knn, transfer (frozen features); "
        "see docs/protocols/ for robustness and few-shot"
    )
