"""Commands ``fingerprint``, ``run``, ``record`` and ``restore``: where Snakemake and DVC meet."""

from typing import Annotated

import typer

from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.record import record, restore, run_stage, write_fingerprints


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command("fingerprint")(fingerprint_command)
    app.command("run")(run_command)
    app.command("record")(record_command)
    app.command("restore")(restore_command)


def fingerprint_command() -> None:
    """Refresh the files by which DVC sees that a step's code has changed in meaning."""
    grid = Grid()
    for path in write_fingerprints(grid, grid.fingerprint_folder):
        typer.echo(f"changed: {path}")


def run_command(stage: Annotated[str, typer.Argument(help="A stage of dvc.yaml.")]) -> None:
    """Make one DVC stage's outputs through Snakemake; `dvc repro` calls this."""
    raise typer.Exit(run_stage(Grid(), stage))


def record_command() -> None:
    """Commit all outputs to DVC, if Snakemake has nothing left to do."""
    record(Grid())
    typer.echo("recorded: commit dvc.lock and results/ to git, then `dvc push` if you have a remote")


def restore_command() -> None:
    """Bring back the outputs of the checked-out commit from DVC's cache; nothing is run."""
    restore(Grid())
    typer.echo("restored: snakemake and dvc have nothing to do")
