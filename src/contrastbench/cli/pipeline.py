"""Commands ``fingerprint``, ``dvc-file``, ``run``, ``record`` and ``restore``: where Snakemake and DVC meet."""

from typing import Annotated

import typer

from contrastbench.cli.options import Preset
from contrastbench.pipeline.dvc_file import DVC_FILE, dvc_grid, write_dvc_file
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.record import record, restore, run_step, write_fingerprints


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command("fingerprint")(fingerprint_command)
    app.command("dvc-file")(dvc_file_command)
    app.command("run")(run_command)
    app.command("record")(record_command)
    app.command("restore")(restore_command)


def fingerprint_command() -> None:
    """Refresh the files by which DVC sees that a step's code has changed in meaning."""
    for path in write_fingerprints(dvc_grid()):
        typer.echo(f"changed: {path}")


def dvc_file_command(preset: Preset = "default") -> None:
    """Render dvc.yaml for a preset, anew after its methods, data sets or tracks have changed."""
    typer.echo(f"{DVC_FILE}: {'written' if write_dvc_file(Grid(preset)) else 'already fits the parameters'}")


def run_command(step: Annotated[str, typer.Argument(help="A stage of dvc.yaml.")]) -> None:
    """Make one DVC stage's outputs through Snakemake; `dvc repro` calls this."""
    raise typer.Exit(run_step(dvc_grid(), step))


def record_command() -> None:
    """Commit all outputs to DVC, if Snakemake has nothing left to do."""
    record(dvc_grid())
    typer.echo("recorded: commit dvc.lock and results/ to git, then `dvc push` if you have a remote")


def restore_command(
    force: Annotated[bool, typer.Option("--force", help="Overwrite outputs that no commit records.")] = False,
) -> None:
    """Bring back the outputs of the checked-out commit from DVC's cache; nothing is run."""
    restore(dvc_grid(), force=force)
    typer.echo("restored: snakemake and dvc have nothing to do")
