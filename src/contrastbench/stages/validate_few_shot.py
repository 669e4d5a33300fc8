"""Stage ``validate_few_shot``: few-shot episodes of validation clips, for choices of training."""

import torch

from contrastbench.datasets.store import Prepared
from contrastbench.evaluation.clips import Clips
from contrastbench.evaluation.few_shot import few_shot_accuracies, sample_episodes
from contrastbench.evaluation.intervals import mean_interval
from contrastbench.jobs.judged import Features, clip_column, clips_of, features_on
from contrastbench.jobs.rows import RowWriter
from contrastbench.jobs.runtime import Runtime
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.results.protocols import Protocol
from contrastbench.results.rows import Row
from contrastbench.training.seeds import generator_for

SPLITS = ("train", "validation", "test")
BASE, VALIDATION = 0, 1  # values of the column ``role``


def validate_few_shot(grid: Grid, job: Job, runtime: Runtime) -> list[Row]:
    """A row for each number of shots and classifier: the protocol of the stage ``few_shot`` on validation clips.

    All trials have one seed, and so meet the same episodes.
    """
    params, judged = grid.track(job.track).few_shot, job.judged
    assert params is not None
    features, data = features_on(grid, job, runtime.device)
    clips, base = validation_and_base(features, data, params.class_of.get(judged, "y"))
    base_mean = base.segment_rows()[0].mean(axis=0)
    rows = RowWriter(grid, "validate_few_shot", job, data.meta.hash)
    for shots in params.shots:
        episodes = sample_episodes(
            clips.labels,
            way=params.way,
            shots=shots,
            queries=params.queries,
            count=params.episodes,
            generator=generator_for(torch.device("cpu"), "validation-episodes", judged, job.seed, shots),
        )
        for classifier in params.classifiers:
            accuracies = few_shot_accuracies(
                clips,
                episodes,
                classifier,
                base_mean=base_mean,
                l2=params.l2,
                generator=generator_for(torch.device("cpu"), "validation-segments", judged, job.seed, shots),
            )
            value, interval = mean_interval(accuracies)
            protocol = Protocol(family="validation-few-shot", way=params.way, shots=shots, classifier=classifier)
            rows.value(protocol, "top1", value, params.episodes, interval)
    return rows.rows


def validation_and_base(features: Features, data: Prepared, class_of: str) -> tuple[Clips, Clips]:
    """The clips that episodes are drawn from, and those of the base classes (for CL2N's mean).

    Where clips have a ``role``, the validation and the base classes of all splits; else the validation and the
    training split. Never a test clip, nor one of a novel class.
    """
    role = clip_column(data, SPLITS, "role")
    if role is None:
        return clips_of(features, data, ("validation",), class_of), clips_of(features, data, ("train",), class_of)
    clips = clips_of(features, data, SPLITS, class_of)
    return clips.take(role == VALIDATION), clips.take(role == BASE)
