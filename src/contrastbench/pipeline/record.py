"""Snakemake runs the work, DVC records it: hand outputs over, and bring a commit's outputs back."""

import json
from pathlib import Path

from contrastbench.errors import UserError
from contrastbench.files import write_text
from contrastbench.pipeline.data_check import data_folders, verify_data
from contrastbench.pipeline.dvc_file import require_fitting_dvc_file
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.steps import step, steps
from contrastbench.pipeline.tools import call, dvc, snakemake_is_done


def run_step(grid: Grid, name: str) -> int:
    """Let Snakemake make what DVC's stage ``name`` owns, with that stage's rules alone; its exit code.

    Damaged data are refused, on which DVC would otherwise go on, or which it would record as the stage's output.
    """
    require_fitting_dvc_file(grid)
    wanted = step(grid, name)
    files = map(str, wanted.files)
    code = call("snakemake", "--cores", "all", "--allowed-rules", *wanted.rules, "--", *files).returncode
    if code == 0:
        verify_data(grid, [folder for folder in data_folders(grid) if folder in (*wanted.inputs, *wanted.folders)])
    return code


def fingerprints(grid: Grid) -> dict[Path, str]:
    """What each file of fingerprints says: a line for each method or data set."""
    files = {path: lines for each in steps(grid) for path, lines in each.code.items()}
    return {path: "".join(f"{name} {code}\n" for name, code in lines.items()) for path, lines in files.items()}


def write_fingerprints(grid: Grid) -> list[Path]:
    """Write one file a step that changes just when the code of that step changes in meaning."""
    written = []
    for path, text in fingerprints(grid).items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
            written.append(path)
    return written


def record(grid: Grid) -> None:
    """Commit all outputs to DVC's cache and ``dvc.lock``.

    Refused unless Snakemake has nothing to do and all data are what they were made: outputs that do not belong to the
    present parameters and code would poison DVC's cache of runs.
    """
    require_fitting_dvc_file(grid)
    if not snakemake_is_done():
        raise UserError("nothing recorded: Snakemake has work to do; run `snakemake --cores all` first")
    verify_data(grid, data_folders(grid))
    write_fingerprints(grid)
    dvc("commit", "--force")


def restore(grid: Grid) -> None:
    """Bring back the outputs that ``dvc.lock`` of the checked-out commit names.

    Afterwards neither tool wants to run anything. Refused when the outputs, parameters or code differ from
    what was recorded: then Snakemake must not be told that all is up to date.
    """
    require_fitting_dvc_file(grid)
    dvc("checkout", "--force")
    write_fingerprints(grid)
    changed = json.loads(dvc("status", "--json"))
    if changed:
        raise UserError(f"not restored: DVC sees changes in {', '.join(sorted(changed))}; run `dvc repro`")
    # All jobs, not only those that want to run: in a fresh clone the others would have no record of the code and the
    # parameters that made them, and a later change of those would go unseen.
    answer = call("snakemake", "--touch", "--forceall", "--cores", "1", quiet=True)
    if answer.returncode != 0:
        raise UserError("not restored: snakemake --touch failed; some outputs were never recorded")
