"""Commands ``fetch`` and ``list``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from contrastbench.cli.console import for_console
from contrastbench.cli.options import Dataset, Mirror
from contrastbench.datasets import adapter
from contrastbench.params.files import PARAMS
from contrastbench.params.root import load
from contrastbench.pipeline.grid import OTHER_TARGETS, Grid
from contrastbench.pipeline.layout import Layout
from contrastbench.pipeline.stages import WITH_ROWS
from contrastbench.registry import ATTACKS, DATASETS, METHODS, WITHOUT_ENCODER, dataset_module
from contrastbench.results.protocols import FORMS

if TYPE_CHECKING:
    from rich.console import RenderableType


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command("fetch")(fetch_command)
    app.command("list")(list_command)


def fetch_command(dataset: Dataset, mirror: Mirror = None) -> None:
    """Get a data set's official archives into data/raw and verify their hashes."""
    from contrastbench.datasets.fetch import fetch

    if Path(PARAMS).is_file():  # it may name data sets of its own
        load()
    dataset_module(dataset)
    paths = fetch(adapter(dataset), Layout("default").raw(dataset), mirror)
    typer.echo("\n".join(f"verified: {path}" for path in paths) or f"{dataset}: nothing to fetch")


def list_command() -> None:
    """Show data sets, methods and protocols."""
    from rich.table import Table

    shown: list[RenderableType] = []
    params = load()
    table = Table("data set", "modality", "classes", "source", "licence", title="Data sets")
    for name in DATASETS:
        source = adapter(name)
        table.add_row(name, source.modality, str(len(source.classes)), source.source, source.licence)
    shown.append(table)
    shown.append(f"[bold]Methods[/bold]: {', '.join([*WITHOUT_ENCODER, *METHODS])}")
    if ATTACKS:
        shown.append(f"[bold]Own attacks[/bold]: {', '.join(ATTACKS)}")
    for track in params.tracks:
        variants = ", ".join(params.track(track).variants)
        shown.append(f"[bold]Variants of {track}[/bold]: {variants or 'none'}")
    grid = Grid()
    for target in OTHER_TARGETS:
        with_it = ", ".join(name for name in params.tracks if grid.labels(name, target))
        shown.append(f"[bold]Tracks with the target {target}[/bold]: {with_it or 'none'}")
    table = Table("stage", "tracks", "protocols", title="What encoders are judged by")
    for stage in WITH_ROWS:
        tracks = [track for track in params.tracks if grid.has(stage, track)]
        families = dict.fromkeys(family for group in stage.groups for family in group.families)
        table.add_row(stage.command, ", ".join(tracks) or "none", ", ".join(FORMS[family] for family in families))
    shown.append(table)
    shown.append("How to read them: docs/protocols/")
    typer.echo(for_console(*shown), nl=False)
