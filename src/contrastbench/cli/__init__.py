"""The command line: ``contrastbench COMMAND``. Each command is a thin shell around one stage or report."""

import gc
import io
import os
import sys
import traceback
from typing import Any

import typer
from typer.core import TyperGroup

from contrastbench import __version__
from contrastbench.cli import data, encoders, foreign, inspect, new, pipeline, plan, results, stages
from contrastbench.errors import UserError

UNEXPECTED = 70  # exit code of a fault of this program, as in sysexits.h
CLOSED_PIPE = 141  # as a program that SIGPIPE ends


class _Commands(TyperGroup):
    """Leaves exit code 1 to the commands, which say with it what the results are; Typer takes it for two mishaps."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except EOFError as error:
            raise RuntimeError("a file or a stream ended too early") from error
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still to be flushed
            raise typer.Exit(CLOSED_PIPE) from None


app = typer.Typer(
    name="contrastbench",
    cls=_Commands,
    help="Reproducible benchmarks of label-free representation learning. "
    "`snakemake --cores all` runs everything; these commands are its steps.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for module in (new, data, inspect, stages, encoders, foreign, pipeline, results, plan):
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
    """Run the command line; a user's mistake is one line on stderr and exit code 2.

    A fault of the program is a traceback and exit code 70: code 1 of ``compare`` means that something got worse.
    """
    gc.disable()  # until a stage computes: modules stay, and looking for garbage takes a third of their import's time
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # of any encoding: a table whose ± is a ? is better than none
            stream.reconfigure(errors="replace")
    try:
        app()
    except UserError as error:
        _refuse(str(error))
    except OSError as error:
        _refuse(f"{error.filename or 'a file'}: {error.strerror or error}")
    except Exception:
        traceback.print_exc()
        sys.exit(UNEXPECTED)


def _refuse(message: str) -> None:
    typer.echo(f"contrastbench: {' '.join(message.split())}", err=True)
    sys.exit(2)
