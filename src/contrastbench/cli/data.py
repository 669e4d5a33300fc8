"""Commands ``fetch`` and ``list``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import typer

from contrastbench.cli.console import for_console
from contrastbench.cli.options import Dataset, Mirror, Preset
from contrastbench.datasets import adapter
from contrastbench.params.files import PARAMS
from contrastbench.params.root import load
from contrastbench.pipeline.grid import OTHER_TARGETS, Grid
from contrastbench.pipeline.layout import Layout
from contrastbench.pipeline.stages import WITH_ROWS
from contrastbench.registry import (
    ATTACKS,
    DATASETS,
    DECLARED,
    METHODS,
    WITHOUT_ENCODER,
    dataset_module,
    modality_name,
)
from contrastbench.results.protocols import FORMS


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
    if dataset in DECLARED:
        typer.echo(f"{dataset}: your own data, which `contrastbench prepare {dataset}` reads; nothing to fetch")
        return
    paths = fetch(adapter(dataset), Layout("default").raw(dataset), mirror)
    typer.echo("\n".join(f"verified: {path}" for path in paths) or f"{dataset}: nothing to fetch")


def list_command(preset: Preset = "default") -> None:
    """Show data sets, methods and protocols, and which of them each track of a preset has."""
    from rich.table import Table

    grid = Grid(preset)
    tracks = {name: grid.track(name) for name in grid.params.tracks}

    def having(names: Callable[[str], Iterable[str]], name: str) -> str:
        return ", ".join(track for track in tracks if name in names(track)) or "none"

    data = Table("data set", "modality", "classes", "tracks", "source", "licence", title="Data sets")
    for name in DATASETS:
        used = having(grid.datasets, name)
        if name in DECLARED:
            declared = grid.params.datasets[name]
            data.add_row(name, modality_name(name), "", used, f"{declared.kind} {declared.path}", "your own")
        else:
            source = adapter(name)
            data.add_row(name, source.modality, str(len(source.classes)), used, source.source, source.licence)
    methods = Table("method", "modality", "tracks", title="Methods")
    kinds = {**WITHOUT_ENCODER, **{name: entry.modalities for name, entry in METHODS.items()}}
    for name, modalities in kinds.items():
        methods.add_row(name, ", ".join(modalities), having(grid.labels, name))
    for name in ATTACKS:
        methods.add_row(f"{name} (an attack of your own)", "image", "")
    about = Table("track", "has", "which", title=f"Tracks of preset {preset}")
    for name, track in tracks.items():
        has: dict[str, Iterable] = {
            "modality": [track.modality],
            "data sets": grid.datasets(name),
            "seeds": track.seeds,
        }
        has |= {"methods": track.methods, "variants": track.variants}
        has |= {f"target {target}": grid.labels(name, target) for target in OTHER_TARGETS if target != "search"}
        has["target search"] = [f"{len(trials)} trials"] if (trials := track.trials()) else []
        for place, (what, names) in enumerate((what, list(names)) for what, names in has.items()):
            if names:
                about.add_row("" if place else name, what, ", ".join(map(str, names)))
        about.add_section()
    judged = Table("stage", "tracks", "protocols", title="What encoders are judged by")
    for stage in WITH_ROWS:
        on = ", ".join(track for track in tracks if grid.has(stage, track)) or "none"
        families = dict.fromkeys(family for group in stage.groups for family in group.families)
        judged.add_row(stage.command, on, ", ".join(FORMS[family] for family in families))
    typer.echo(for_console(data, methods, about, judged, "How to read them: docs/protocols/"), nl=False)
