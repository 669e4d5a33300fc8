"""Snakemake runs the work, DVC records it: hand outputs over, and bring a commit's outputs back."""

import json
from pathlib import Path

from contrastbench.errors import UserError
from contrastbench.files import write_text
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.tools import call, dvc, snakemake_is_done


def run_stage(grid: Grid, stage: str) -> int:
    """Let Snakemake make what DVC's ``stage`` owns, with that stage's rules alone; its exit code."""
    outputs = grid.stage_outputs(stage)
    if not outputs:
        return 0
    rules = grid.stage_rules(stage)
    return call("snakemake", "--cores", "all", "--allowed-rules", *rules, "--", *map(str, outputs)).returncode


def write_fingerprints(grid: Grid, folder: Path) -> list[Path]:
    """Write one file a stage that changes just when the code of that stage changes in meaning."""
    written = []
    for stage, lines in grid.fingerprints().items():
        path = folder / f"{stage}.txt"
        text = "".join(f"{line}\n" for line in lines)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
            written.append(path)
    return written


def record(grid: Grid) -> None:
    """Commit all outputs to DVC's cache and ``dvc.lock``.

    Refused unless Snakemake has nothing to do: outputs that do not belong to the present parameters and code
    would poison DVC's cache of runs.
    """
    if not snakemake_is_done():
        raise UserError("nothing recorded: Snakemake has work to do; run `snakemake --cores all` first")
    write_fingerprints(grid, grid.fingerprint_folder)
    dvc("commit", "--force")


def restore(grid: Grid) -> None:
    """Bring back the outputs that ``dvc.lock`` of the checked-out commit names.

    Afterwards neither tool wants to run anything. Refused when the outputs, parameters or code differ from
    what was recorded: then Snakemake must not be told that all is up to date.
    """
    write_fingerprints(grid, grid.fingerprint_folder)
    dvc("checkout", "--force")
    changed = json.loads(dvc("status", "--json"))
    if changed:
        raise UserError(f"not restored: DVC sees changes in {', '.join(sorted(changed))}; run `dvc repro`")
    answer = call("snakemake", "--touch", "--cores", "1", quiet=True)
    if answer.returncode != 0:
        raise UserError("not restored: snakemake --touch failed; some outputs were never recorded")
