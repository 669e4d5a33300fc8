"""Features of a data set that an encoder is judged on, which may be another than it was trained on."""

from collections.abc import Sequence

import numpy as np

from contrastbench.datasets.store import Prepared, open_prepared
from contrastbench.evaluation.clips import Clips, by_clip, pool
from contrastbench.jobs.cache import labelled, read_features, training_record
from contrastbench.jobs.context import RowWriter
from contrastbench.jobs.encode import encode, reference_features
from contrastbench.jobs.runs import load_method
from contrastbench.params.base import Section
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.registry import WITHOUT_ENCODER

Features = dict[str, np.ndarray]


def features_on(grid: Grid, job: Job, judged: str, device: str) -> tuple[Features, Prepared]:
    """Features of every labelled split of ``judged``: cached ones of the job's own data set, else extracted now."""
    own = open_prepared(grid.data_folder(job))
    if judged == job.dataset:
        return read_features(grid.layout.run("features", job), own.meta.splits), own
    data = open_prepared(grid.layout.spectrograms(judged))
    params = grid.pretrain_params(job)
    if job.method in WITHOUT_ENCODER or params is None:
        return reference_features(data), data
    method = load_method(grid.weights(job)[0].parent, params, own, job.seed)
    return encode(method, data, device), data


def clips_of(features: Features, data: Prepared, splits: Sequence[str], class_of: str = "y") -> Clips:
    """The clips of some splits, one split after another; their classes are the column ``class_of``."""
    parts = []
    for split in splits:
        rows = labelled(features, data, split)
        labels = rows.labels if class_of == "y" else np.asarray(data.column(split, class_of))
        parts.append(by_clip(rows.features, np.asarray(data.column(split, "clip")), labels))
    return pool(parts)


def clip_column(data: Prepared, splits: Sequence[str], name: str) -> np.ndarray | None:
    """One value a clip (C,) of a column, in the order of :func:`clips_of`; None where the data has no such column."""
    if any(name not in data.meta.splits[split].arrays for split in splits):
        return None
    first = [np.unique(data.column(split, "clip"), return_index=True)[1] for split in splits]
    return np.concatenate([data.column(split, name)[rows] for split, rows in zip(splits, first, strict=True)])


def row_writer(grid: Grid, job: Job, stage: str, judged: Prepared, section: Section) -> tuple[RowWriter, dict]:
    """The writer of this job's rows on ``judged``, and what every row's detail says of the training."""
    device, common = training_record(grid, job)
    name = judged.meta.name
    target = job if name == job.dataset else Job(job.track, f"{job.dataset}-to-{name}", job.method, job.seed)
    sections = [part for part in (grid.pretrain_params(job), section) if part is not None]
    code = [*grid.training_code(job), *(grid.code(step, job) for step in ("features", stage))]
    return RowWriter(grid.layout, stage, target, sections, code, judged.meta.hash, device), common
