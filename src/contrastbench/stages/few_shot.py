"""Stage ``few_shot``: N-way K-shot episodes on frozen features."""

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
BASE, NOVEL = 0, 2  # values of the column ``role``


def few_shot(grid: Grid, job: Job, runtime: Runtime) -> list[Row]:
    """Judge a job's encoder on episodes of a data set: a row for each number of shots and classifier.

    The episodes depend on the data set, the seed and the shots alone: all methods of a seed meet the same ones.
    """
    params, judged = grid.track(job.track).few_shot, job.judged
    assert params is not None
    features, data = features_on(grid, job, runtime.device)
    class_of = params.class_of.get(judged, "y")
    novel, base, sources = novel_and_base(features, data, class_of, seen=judged == job.dataset)
    base_rows = base.segment_rows()[0]
    scale = fit_scaling(base_rows, params.features)
    novel, base_mean = replace(novel, features=scale(novel.features)), scale(base_rows).mean(axis=0)
    rows = RowWriter(grid, "few_shot", job, data.meta.hash)
    cpu = torch.device("cpu")
    for shots in params.shots:
        episodes = sample_episodes(
            novel.labels,
            sources=sources,
            way=params.way,
            shots=shots,
            queries=params.queries,
            count=params.episodes,
            generator=generator_for(cpu, "episodes", judged, job.seed, shots),
        )
        for classifier in params.classifiers:
            accuracies = few_shot_accuracies(
                novel,
                episodes,
                classifier,
                base_mean=base_mean,
                l2=params.l2,
                generator=generator_for(cpu, "segments", judged, job.seed, shots),
            )
            value, interval = mean_interval(accuracies)
            detail = {"classes": len(np.unique(novel.labels)), "clips": len(novel.labels)}
            protocol = Protocol(family="few-shot", way=params.way, shots=shots, classifier=classifier)
            rows.value(protocol, "top1", value, params.episodes, interval, detail=detail)
    return rows.rows


def novel_and_base(
    features: Features, data: Prepared, class_of: str, *, seen: bool
) -> tuple[Clips, Clips, np.ndarray | None]:
    """The clips that episodes are drawn from, those of the base classes (for CL2N's mean), and the former's sources.

    A clip's source is its ``group`` (recording, speaker); None where the data have none, or it is the class.
    Where clips have a ``role``, the novel and the base classes of all splits; else the test and the training split.
    An encoder that was trained on such a data set has ``seen`` the novel classes, which is a UserError.
    """
    role = clip_column(data, SPLITS, "role")
    splits = ("test",) if role is None else SPLITS
    sources = None if class_of == "group" else clip_column(data, splits, "group")
    if role is None:
        return clips_of(features, data, splits, class_of), clips_of(features, data, ("train",), class_of), sources
    if seen:
        raise UserError(
            f"{data.meta.name}: few-shot episodes are drawn from its novel classes, which this encoder was trained on; "
            "train on another data set (see few_shot.datasets)"
        )
    clips = clips_of(features, data, splits, class_of)
    return clips.take(role == NOVEL), clips.take(role == BASE), None if sources is None else sources[role == NOVEL]
