"""The command line: ``contrastbench COMMAND``. Each command is a thin shell around one stage or report."""

import os
import sys

import typer

from contrastbench import __version__
from contrastbench.cli import audio, data, figures, pipeline, plan, results, robustness, train, tune
from contrastbench.errors import UserError

app = typer.Typer(
    name="contrastbench",
    help="Reproducible benchmarks of label-free representation learning. "
    "`snakemake --cores all` runs everything; these commands are its steps.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for module in (data, train, tune, robustness, audio, figures, pipeline, results, plan):
    module.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"contrastbench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    # One thread unless told otherwise: two jobs side by side beat one with two threads, and results
    # then do not depend on how many cores there are. Snakemake exports the same variable for each job.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and exit code 2."""
    try:
        app()
    except UserError as error:
        _refuse(str(error))
    except OSError as error:
        _refuse(f"{error.filename or 'a file'}: {error.strerror or error}")


def _refuse(message: str) -> None:
    typer.echo(f"contrastbench: {' '.join(message.split())}", err=True)
    sys.exit(2)
