"""Where the numbers of a report come from: commit, hashes, versions, machine, time and memory."""

import platform
from importlib import metadata
from pathlib import Path

import pandas as pd

from contrastbench.errors import UserError
from contrastbench.params.base import params_hash
from contrastbench.pipeline.resolved import resolved
from contrastbench.pipeline.runs import Run
from contrastbench.results.revisions import head_state
from contrastbench.results.rows import Row

PACKAGES = ("contrastbench", "torch", "torchvision", "torchaudio", "lightning-fabric", "scikit-learn", "foolbox")


def facts(rows: list[Row], runs: list[Run], preset: str, root: Path) -> list[tuple[str, str]]:
    """Name and value, one pair a line."""
    try:
        state = head_state(root)
    except UserError:  # no git at all
        state = None
    commit = "not in a git repository" if state is None else state[0][:12] + (", uncommitted changes" * state[1])
    found = [("commit", commit), ("preset", preset), ("parameters", _parameters(preset, root))]
    data = sorted({(row.dataset, row.data_hash) for row in rows})
    found.append(("data", ", ".join(f"{name} {digits}" for name, digits in data)))
    found.append(("devices of the rows", ", ".join(sorted({row.device for row in rows}))))
    trained = sorted({str(run.record["torch"]) for run in runs if "torch" in run.record})
    if trained:
        found.append(("torch of the training runs", ", ".join(trained)))
    found.append(("this report was built with", ", ".join([f"Python {platform.python_version()}", *_versions()])))
    found.append(("on", f"{platform.system()} {platform.machine()}"))
    return found


def _parameters(preset: str, root: Path) -> str:
    try:
        return params_hash(resolved(preset, root))
    except UserError as problem:
        return f"not readable: {problem}"


def _versions() -> list[str]:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return found


def costs(measured: pd.DataFrame, rows: list[Row]) -> list[tuple[str, int, float, float, float]]:
    """Per stage: jobs, seconds in all, seconds of the longest job, peak MiB.

    Snakemake's measurements where there are any (they include start-up); else what the rows say.
    """
    if measured.empty:
        per_job: dict[tuple, tuple[float, float]] = {}
        for row in rows:
            job = (row.stage, row.track, row.dataset, row.method, row.seed)
            seconds, peak = per_job.get(job, (0.0, 0.0))
            per_job[job] = (max(seconds, row.wall_s), max(peak, row.peak_mb))
        lines = [{"stage": job[0], "seconds": cost[0], "peak_mb": cost[1]} for job, cost in per_job.items()]
        measured = pd.DataFrame(lines, columns=["stage", "seconds", "peak_mb"])
    return [
        (str(stage), len(group), group["seconds"].sum(), group["seconds"].max(), group["peak_mb"].max())
        for stage, group in measured.groupby("stage", sort=False)
    ]
