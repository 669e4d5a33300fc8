"""Few-shot episodes on a job's features: what the table is made of, and what a search for settings goes by.

Both are one protocol on other clips: those of the novel classes or the test split, and the validation's.
"""

from dataclasses import replace
from typing import Literal, NamedTuple

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
Kind = Literal["novel", "validation"]
ROLES: dict[Kind, int] = {"novel": NOVEL, "validation": VALIDATION}
SPLIT_OF: dict[Kind, str] = {"novel": "test", "validation": "validation"}  # where clips have no role
FAMILIES: dict[Kind, str] = {"novel": "few-shot", "validation": "validation-few-shot"}


class Drawn(NamedTuple):
    """What episodes are drawn from, and what they are judged with.

    clips    those that episodes are drawn from
    base     those of the base classes, by which features are scaled, and centred in CL2N
    sources  (C,) what each of ``clips`` comes from, its ``group`` (recording, speaker); None where the data have none,
             or it is the class
    """

    clips: Clips
    base: Clips
    sources: np.ndarray | None


def episode_rows(grid: Grid, job: Job, runtime: Runtime, stage: str, kind: Kind) -> list[Row]:
    """Judge a job's encoder on episodes of a data set: a row for each number of shots and classifier.

    The episodes depend on their ``kind``, the data set, the seed and the shots alone: all methods of a seed meet the
    same ones.
    """
    params, judged, cpu = grid.track(job.track).few_shot, job.judged, torch.device("cpu")
    assert params is not None
    features, data = features_on(grid, job, runtime.device)
    clips, base, sources = drawn_from(
        features, data, params.class_of.get(judged, "y"), kind, seen=judged == job.dataset
    )
    base_rows = base.segment_rows()[0]
    scale = fit_scaling(base_rows, params.features)
    clips, base_mean = replace(clips, features=scale(clips.features)), scale(base_rows).mean(axis=0)
    detail = {"classes": len(np.unique(clips.labels)), "clips": len(clips.labels)}
    rows = RowWriter(grid, stage, job, data.meta.hash)
    for shots in params.shots:
        episodes = sample_episodes(
            clips.labels,
            sources=sources,
            way=params.way,
            shots=shots,
            queries=params.queries,
            count=params.episodes,
            generator=generator_for(cpu, f"{kind} episodes", judged, job.seed, shots),
        )
        for classifier in params.classifiers:
            accuracies = few_shot_accuracies(
                clips,
                episodes,
                classifier,
                base_mean=base_mean,
                l2=params.l2,
                generator=generator_for(cpu, f"{kind} segments", judged, job.seed, shots),
            )
            value, interval = mean_interval(accuracies)
            protocol = Protocol(family=FAMILIES[kind], way=params.way, shots=shots, classifier=classifier)
            rows.value(protocol, "top1", value, params.episodes, interval, detail=detail)
    return rows.rows


def drawn_from(features: Features, data: Prepared, class_of: str, kind: Kind, *, seen: bool) -> Drawn:
    """The clips of one ``kind``, and those of the base classes.

    Where clips have a ``role``, of all splits those of that role and of the base; else the split of that kind and the
    training split. An encoder that was trained on such a data set has ``seen`` the novel and validation classes, which
    is a UserError.
    """
    role = clip_column(data, SPLITS, "role")
    splits = (SPLIT_OF[kind],) if role is None else SPLITS
    sources = None if class_of == "group" else clip_column(data, splits, "group")
    clips = clips_of(features, data, splits, class_of)
    if role is None:
        return Drawn(clips, clips_of(features, data, ("train",), class_of), sources)
    if seen:
        raise UserError(
            f"{data.meta.name}: episodes are drawn from its {kind} classes, which this encoder was trained on; train "
            "on another data set (see few_shot.datasets)"
        )
    own = role == ROLES[kind]
    return Drawn(clips.take(own), clips.take(role == BASE), None if sources is None else sources[own])
