"""Calls of Snakemake and DVC, and what they say."""

import os
import subprocess
import sys
from pathlib import Path

from contrastbench.errors import UserError
from contrastbench.params.root import DEFAULT

NOTHING_TO_DO = "Nothing to be done"


def call(tool: str, *arguments: str, quiet: bool = False) -> subprocess.CompletedProcess[str]:
    """Run ``snakemake`` or ``dvc`` of this Python environment; ``quiet`` keeps its output in the result."""
    program = Path(sys.executable).parent / tool
    if not program.is_file():
        raise UserError(f"{tool}: not installed in this Python environment; run `make install`")
    pipe = subprocess.PIPE if quiet else None
    encoding = {"PYTHONIOENCODING": "utf-8"} if quiet else {}  # whatever the user's terminal has
    environment = (
        os.environ | encoding | {"DVC_NO_ANALYTICS": "1", "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}
    )
    return subprocess.run(
        [str(program), *arguments],
        stdout=pipe,
        stderr=pipe,
        encoding="utf-8",
        errors="replace",
        check=False,
        env=environment,
    )


def snakemake(preset: str, *arguments: str, quiet: bool = False) -> subprocess.CompletedProcess[str]:
    """Call Snakemake for a preset; ``arguments`` follow its ``--config``."""
    return call("snakemake", "--config", f"preset={preset}", *arguments, quiet=quiet)


def whole_run(preset: str) -> str:
    """What makes all of a preset, as a message names it."""
    return f"`snakemake --cores all{'' if preset == DEFAULT else f' --config preset={preset}'}`"


def snakemake_is_done(preset: str) -> bool:
    """Whether Snakemake, asked in a dry run, has nothing to do for a preset's default target."""
    answer = snakemake(preset, "--dry-run", "--cores", "1", quiet=True)
    if answer.returncode != 0:
        raise UserError(f"snakemake --dry-run failed: {last_line(answer)}")
    return NOTHING_TO_DO in answer.stdout + answer.stderr


def dvc(*arguments: str) -> str:
    """What ``dvc ARGUMENTS`` prints; a failure is a UserError."""
    answer = call("dvc", *arguments, quiet=True)
    if answer.returncode != 0:
        raise UserError(f"dvc {arguments[0]} failed: {last_line(answer)}")
    return answer.stdout


def last_line(answer: subprocess.CompletedProcess[str]) -> str:
    """The last thing that a program of which the output was kept has said."""
    lines = [line for line in (answer.stderr + answer.stdout).splitlines() if line.strip()]
    return lines[-1] if lines else f"exit code {answer.returncode}"
