"""Seconds and memory of the commands that read everything, on a grid ten times the default's.

    python benchmarks/growth.py [--methods 10] [--seeds 10] [--tiny]

Makes a project in a temporary folder: two tracks of images, ``--methods`` methods each, on three data sets, with
``--seeds`` seeds. Its rows are copies of those committed here, renamed and with hashes of the new parameters, so that
they all count. Then `snakemake -n` plans every job anew, and tables, report and compare (against a commit that holds
the same rows) read every row; the time, the processor time and the peak memory of each are printed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from contrastbench.params.base import read_yaml
from contrastbench.pipeline.asked import rows_that_count
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import ALL_SEEDS, Job
from contrastbench.pipeline.stages import WITH_ROWS, Stage
from contrastbench.results.load import rows_at
from contrastbench.results.revisions import WORKTREE
from contrastbench.results.rows import Row, write_rows

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PRESET = "growth"
DATASETS = ["mnist5k", "cifar10", "cifar100"]
TRACKS = ("unremix", "swaro")


def overlay(methods: int, seeds: int) -> dict:
    """The content of presets/growth.yaml."""
    default = Grid("default", ROOT)
    content: dict = {"tracks": list(TRACKS)}
    for track in TRACKS:
        section = default.track(track)
        labels = [*section.methods, *(name for name in section.ablation if name not in section.methods)]
        chosen = {"datasets": DATASETS, "methods": labels[:methods], "ablation": [], "seeds": list(range(seeds))}
        content[track] = chosen | ({"transfer": []} if track == "unremix" else {})
    budget = read_yaml(ROOT / "params.yaml")["swaro"]["robustness"]["budgets"]["mnist5k"]
    content["swaro"]["robustness"] = {"budgets": dict.fromkeys(DATASETS, budget)}
    return content


def invented(grid: Grid) -> Iterator[tuple[Path, list[Row]]]:
    """Each file of rows that the grid asks for, filled with renamed rows of the default run."""
    templates: dict[tuple[str, str], list[Row]] = {}
    for row in rows_at(WORKTREE, root=ROOT).only("default").rows:
        if row.seed == 0 and row.protocol.source is None:
            templates.setdefault((row.track, row.stage), []).append(row)
    for track in TRACKS:
        for stage in WITH_ROWS:
            of_stage = templates.get((track, stage.name), [])
            for job in grid.jobs(stage.name, track):
                yield grid.layout.rows(stage.name, job), list(_renamed(grid, stage, job, of_stage))


def _renamed(grid: Grid, stage: Stage, job: Job, templates: list[Row]) -> Iterator[Row]:
    section = grid.track(job.track)
    if not templates or job.method not in section.methods:  # transferred attacks: of all methods at once
        return
    method = job.method if any(row.method == job.method for row in templates) else templates[0].method
    told = {
        "preset": grid.preset,
        "dataset": job.dataset,
        "method": job.method,
        "base": section.base_method(job.method),
        "params_hash": grid.asked_params(stage.name, job),
        "code_hash": grid.asked_code(stage.name, job),
    }
    for seed in section.seeds if job.seed == ALL_SEEDS else [job.seed]:
        yield from (row.model_copy(update=told | {"seed": seed}) for row in templates if row.method == method)


def measure(title: str, folder: Path, *command: str) -> None:
    """Run ``command`` in ``folder`` and print what it took."""
    begun = time.perf_counter()
    with open(folder / "output.txt", "w", encoding="utf-8") as output:
        child = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - begun
    processor = usage.ru_utime + usage.ru_stime
    print(f"{title:14} {wall:6.1f} s, {processor:6.1f} s of processor, {usage.ru_maxrss / 1024:5.0f} MiB")
    if os.waitstatus_to_exitcode(status):
        sys.exit((folder / "output.txt").read_text(encoding="utf-8")[-2000:])


def main() -> None:
    """Make the project and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--methods", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--tiny", action="store_true", help="two methods and seeds, to see that this script works")
    arguments = parser.parse_args()
    methods, seeds = (2, 2) if arguments.tiny else (arguments.methods, arguments.seeds)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "project")
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        os.chdir(folder)
        subprocess.run(["git", "rm", "-rq", "results", "presets", "claims.yaml", "README.md", "docs"], check=True)
        Path("presets").mkdir()
        Path("presets", f"{PRESET}.yaml").write_text(yaml.safe_dump(overlay(methods, seeds)), encoding="utf-8")
        count = 0
        for path, rows in invented(Grid(PRESET)):
            write_rows(path, rows)
            count += len(rows)
        subprocess.run(["git", "add", "."], check=True)
        author = ["-c", "user.name=growth", "-c", "user.email=growth@localhost"]
        subprocess.run(["git", *author, "commit", "--quiet", "--message", "Rows"], check=True)
        print(f"{methods} methods, {seeds} seeds, {len(DATASETS)} data sets, {len(TRACKS)} tracks: {count} rows")
        snakemake = [str(BIN / "snakemake"), "--cores", "2", "-n", "--quiet", "--config", f"preset={PRESET}"]
        contrastbench = str(BIN / "contrastbench")
        if len(rows_that_count(Path(), PRESET).rows) != count:
            sys.exit("not all of the rows count: this would measure less than it says")
        measure("snakemake -n", folder, *snakemake)
        measure("tables", folder, contrastbench, "tables", "--preset", PRESET)
        measure("report", folder, contrastbench, "report", "--preset", PRESET)
        measure("compare", folder, contrastbench, "compare", "HEAD", "--preset", PRESET)


if __name__ == "__main__":
    main()
