"""Snakemake runs the work, DVC records it: hand outputs over, and bring a commit's outputs back."""

import json
import os
from pathlib import Path

from contrastbench.errors import UserError
from contrastbench.files import sweep_below, write_text
from contrastbench.params.base import params_hash, read_yaml
from contrastbench.params.root import load
from contrastbench.pipeline.data_check import data_folders, verify_data
from contrastbench.pipeline.dvc_file import params_files, require_fitting_dvc_file
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.records import trained_record
from contrastbench.pipeline.stages import TRAINING
from contrastbench.pipeline.steps import step, steps
from contrastbench.pipeline.tools import call, dvc, last_line, snakemake, snakemake_is_done, whole_run

LOCK_FILE = Path("dvc.lock")
FINGERPRINTS = Path("runs/fingerprints")  # follow from the code: nothing is lost with them
UNSAVED = "Can't remove the following unsaved files"  # how `dvc checkout` begins its refusal


def run_step(grid: Grid, name: str) -> int:
    """Let Snakemake make what DVC's stage ``name`` owns, with that stage's rules alone; its exit code.

    Damaged data are refused, on which DVC would otherwise go on, or which it would record as the stage's output; so
    are parameters that changed meanwhile, which it would record as those of the output.
    """
    require_fitting_dvc_file(grid)
    wanted = step(grid, name)
    files = map(str, wanted.files)
    code = snakemake(grid.preset, "--cores", "all", "--allowed-rules", *wanted.rules, "--", *files).returncode
    if code == 0:
        if params_hash(load(grid.preset, grid.root)) != params_hash(grid.params):
            edited = " or ".join(params_files(grid))
            raise UserError(f"{edited} has changed since this step began; run `dvc repro` again")
        verify_data([folder for folder in data_folders(grid) if folder in (*wanted.inputs, *wanted.folders)])
    return code


def fingerprints(grid: Grid) -> dict[Path, str]:
    """What each file of fingerprints says: a line for each method or data set."""
    files = {path: lines for each in steps(grid) for path, lines in each.code.items()}
    return {path: "".join(f"{name} {code}\n" for name, code in lines.items()) for path, lines in files.items()}


def write_fingerprints(grid: Grid) -> list[Path]:
    """Write one file per step, which changes only when the code of that step changes in meaning."""
    written = []
    for path, text in fingerprints(grid).items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
            written.append(path)
    return written


def record(grid: Grid) -> None:
    """Commit all outputs to DVC's cache and ``dvc.lock``.

    Refused unless Snakemake has nothing to do, every step's files are there, all data are what they were made and all
    weights those that are asked for: outputs that do not belong to the present parameters and code would poison DVC's
    cache of runs.
    """
    require_fitting_dvc_file(grid)
    if not snakemake_is_done(grid.preset):
        raise UserError(f"nothing recorded: Snakemake has work to do; run {whole_run(grid.preset)} first")
    gone = [str(path) for each in steps(grid) for path in each.files if not path.is_file()]
    if gone:  # Snakemake misses no file whose readers are done; a commit without it could not be restored
        raise UserError(f"nothing recorded: {_some(gone)} missing; run `dvc repro`")
    verify_data(data_folders(grid))
    for track in grid.params.tracks:
        for job in (job for stage in TRAINING for job in grid.jobs(stage, track)):
            trained_record(grid, job)
    write_fingerprints(grid)
    for folder in ("data/prepared", "data/spectrograms", "runs", "results"):
        sweep_below(Path(folder))
    dvc("commit", "--force")


def restore(grid: Grid, *, force: bool = False) -> None:
    """Bring back the outputs that ``dvc.lock`` of the checked-out commit names.

    Afterwards neither tool wants to run anything. Refused before any output is touched where DVC's cache lacks one of
    the commit's files, and, unless ``force``, where a file on disk is in no cache and would be lost. What git keeps
    (rows, tables) is left alone. Refused afterwards when parameters, code or those files differ from what was recorded:
    then Snakemake must not be told that all is up to date.
    """
    require_fitting_dvc_file(grid)
    _require_recorded(grid)
    _require_whole_cache(grid.preset)
    # Without targets DVC would also remove outputs of other commits. Fingerprints are written anew below.
    owners = [step.name for step in steps(grid) if step.folders]
    answer = call("dvc", "checkout", *(["--force"] if force else []), *owners, quiet=True)
    if answer.returncode != 0:
        raise UserError(f"not restored: {_why_not(answer.stderr) or last_line(answer)}")
    write_fingerprints(grid)
    changed = json.loads(dvc("status", "--json"))
    changed.pop("fingerprint", None)  # its files have just been written, and those that read them are looked at
    if changed:
        raise UserError(
            f"not restored: DVC sees changes in {', '.join(sorted(changed))}; run `dvc repro`, then restore again"
        )
    # All jobs, not only those that want to run: in a fresh clone the others would have no record of the code and the
    # parameters that made them, and a later change of those would go unseen.
    answer = snakemake(grid.preset, "--touch", "--forceall", "--cores", "1", quiet=True)
    if answer.returncode != 0:
        raise UserError(f"not restored: snakemake --touch failed: {last_line(answer)}")


def _require_recorded(grid: Grid) -> None:
    """Refuse a ``dvc.lock`` that lacks a step: DVC deletes outputs of which it knows no hash."""
    known = read_yaml(LOCK_FILE).get("stages") if LOCK_FILE.is_file() else {}
    lacking = [step.name for step in steps(grid) if not isinstance(known, dict) or step.name not in known]
    if lacking:
        raise UserError(
            f"not restored: {LOCK_FILE} of this commit records no {lacking[0]}; run {whole_run(grid.preset)}, "
            "then `contrastbench record`"
        )


def _require_whole_cache(preset: str) -> None:
    """Refuse to begin where DVC's cache lacks a file: DVC deletes first and then finds that it has nothing to put."""
    status = json.loads(dvc("data", "status", "--granular", "--json"))
    lacking = [path for path in status.get("not_in_cache", []) if not Path(path).is_relative_to(FINGERPRINTS)]
    if lacking:
        raise UserError(
            f"not restored, nothing touched: DVC's cache lacks {_some(lacking)}; run `dvc pull` where there is a "
            f"remote, else {whole_run(preset)}"
        )


def _why_not(said: str) -> str | None:
    """The reason in what ``dvc checkout`` wrote, if it is that files would be lost; it then has touched nothing."""
    _, found, after = said.partition(UNSAVED)
    paths = [os.path.relpath(line) for line in after.splitlines()[1:] if line.startswith(os.sep)]
    if not found or not paths:
        return None
    return (
        f"nothing touched, because no commit records {_some(paths)} as on disk; run `contrastbench record` with the "
        "parameters that made them, or overwrite them: `contrastbench restore --force`"
    )


def _some(paths: list[str]) -> str:
    """The first path, and how many others there are."""
    more = len(paths) - 1
    return paths[0] + (f" and {more} more file{'s' * (more > 1)}" if more else "")
