"""Stage ``validate_few_shot``: few-shot episodes of validation clips, for choices of training."""

from contrastbench.jobs.episodes import episode_rows
from contrastbench.jobs.runtime import Runtime
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.results.rows import Row


def validate_few_shot(grid: Grid, job: Job, runtime: Runtime) -> list[Row]:
    """The rows of the stage ``few_shot``, on validation clips: never a test clip, nor one of a novel class.

    All trials have one seed, and so meet the same episodes.
    """
    return episode_rows(grid, job, runtime, "validate_few_shot", "validation")
