"""Stage ``few_shot``: N-way K-shot episodes on frozen features."""

from contrastbench.jobs.episodes import episode_rows
from contrastbench.jobs.runtime import Runtime
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.results.rows import Row


def few_shot(grid: Grid, job: Job, runtime: Runtime) -> list[Row]:
    """Judge a job's encoder on episodes of novel classes, or of the test split."""
    return episode_rows(grid, job, runtime, "few_shot", "novel")
