"""Stage ``validate_few_shot``: few-shot episodes of validation clips, for choices of training."""

from contrastbench.datasets.store import Prepared
from contrastbench.jobs.judged import Features
from contrastbench.jobs.runtime import Runtime
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.results.rows import Row
from contrastbench.stages.few_shot import VALIDATION, Parts, drawn_and_base, judge_episodes


def validate_few_shot(grid: Grid, job: Job, runtime: Runtime) -> list[Row]:
    """A row for each number of shots and classifier: the protocol of the stage ``few_shot`` on validation clips.

    All trials have one seed, and so meet the same episodes.
    """
    return judge_episodes(grid, job, runtime, "validate_few_shot", "validation-", validation_and_base)


def validation_and_base(features: Features, data: Prepared, class_of: str) -> Parts:
    """The clips that episodes are drawn from, those of the base classes (for CL2N's mean), and the former's sources.

    Where clips have a ``role``, the validation and the base classes of all splits; else the validation and the
    training split. Never a test clip, nor one of a novel class.
    """
    return drawn_and_base(features, data, class_of, "validation", VALIDATION)
