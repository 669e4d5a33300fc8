"""Stage ``few_shot``: N-way K-shot episodes on frozen features."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from contrastbench.datasets.store import Prepared
from contrastbench.errors import UserError
from contrastbench.evaluation.clips import Clips
from contrastbench.evaluation.few_shot import few_shot_accuracies, sample_episodes
from contrastbench.evaluation.intervals import mean_interval
from contrastbench.evaluation.scaling import fit_scaling
from contrastbench.jobs.judged import Features, clip_column, clips_of, features_on
from contrastbench.jobs.rows import RowWriter
from contrastbench.jobs.runtime import Runtime
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.results.protocols import Protocol
from contrastbench.results.rows import Row
from contrastbench.training.seeds import generator_for

SPLITS = ("train", "validation", "test")
BASE, VALIDATION, NOVEL = 0, 1, 2  # values of the column ``role``
Parts = tuple[Clips, Clips, np.ndarray | None]


def few_shot(grid: Grid, job: Job, runtime: Runtime) -> list[Row]:
    """Judge a job's encoder on episodes of a data set: a row for each number of shots and classifier.

    The episodes depend on the data set, the seed and the shots alone: all methods of a seed meet the same ones.
    """
    seen = job.judged == job.dataset
    return judge_episodes(grid, job, runtime, "few_shot", "", lambda *given: novel_and_base(*given, seen=seen))


def judge_episodes(
    grid: Grid, job: Job, runtime: Runtime, stage: str, prefix: str, parts: Callable[[Features, Prepared, str], Parts]
) -> list[Row]:
    """The rows of a ``stage``: episodes of the clips that ``parts`` chooses, under names that begin with ``prefix``."""
    params, judged = grid.track(job.track).few_shot, job.judged
    assert params is not None
    features, data = features_on(grid, job, runtime.device)
    clips, base, sources = parts(features, data, params.class_of.get(judged, "y"))
    base_rows = base.segment_rows()[0]
    scale = fit_scaling(base_rows, params.features)
    clips, base_mean = replace(clips, features=scale(clips.features)), scale(base_rows).mean(axis=0)
    rows = RowWriter(grid, stage, job, data.meta.hash)
    cpu = torch.device("cpu")
    for shots in params.shots:
        episodes = sample_episodes(
            clips.labels,
            sources=sources,
            way=params.way,
            shots=shots,
            queries=params.queries,
            count=params.episodes,
            generator=generator_for(cpu, f"{prefix}episodes", judged, job.seed, shots),
        )
        for classifier in params.classifiers:
            accuracies = few_shot_accuracies(
                clips,
                episodes,
                classifier,
                base_mean=base_mean,
                l2=params.l2,
                generator=generator_for(cpu, f"{prefix}segments", judged, job.seed, shots),
            )
            value, interval = mean_interval(accuracies)
            detail = {"classes": len(np.unique(clips.labels)), "clips": len(clips.labels)}
            protocol = Protocol(family=f"{prefix}few-shot", way=params.way, shots=shots, classifier=classifier)
            rows.value(protocol, "top1", value, params.episodes, interval, detail=detail)
    return rows.rows


def novel_and_base(features: Features, data: Prepared, class_of: str, *, seen: bool) -> Parts:
    """The clips that episodes are drawn from, those of the base classes (for CL2N's mean), and the former's sources.

    Those of the test split, or of the novel classes. An encoder that was trained on a data set with such classes has
    ``seen`` them, which is a UserError.
    """
    if seen and clip_column(data, SPLITS, "role") is not None:
        raise UserError(
            f"{data.meta.name}: few-shot episodes are drawn from its novel classes, which this encoder was trained on; "
            "train on another data set (see few_shot.datasets)"
        )
    return drawn_and_base(features, data, class_of, "test", NOVEL)


def drawn_and_base(features: Features, data: Prepared, class_of: str, split: str, drawn: int) -> Parts:
    """The clips of a ``split`` and the training split; where clips have a role, those ``drawn`` and the base classes.

    The latter from all splits. Also the source of each of the former, its ``group`` (recording, speaker); None where
    the data have none, or it is the class.
    """
    role = clip_column(data, SPLITS, "role")
    splits = (split,) if role is None else SPLITS
    sources = None if class_of == "group" else clip_column(data, splits, "group")
    clips = clips_of(features, data, splits, class_of)
    if role is None:
        return clips, clips_of(features, data, ("train",), class_of), sources
    return clips.take(role == drawn), clips.take(role == BASE), None if sources is None else sources[role == drawn]
