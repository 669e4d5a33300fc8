"""Features of a data set that an encoder is judged on, which may be another than it was trained on."""

from collections.abc import Sequence

import numpy as np

from contrastbench.datasets.store import Prepared, open_prepared
from contrastbench.errors import UserError
from contrastbench.evaluation.clips import Clips, by_clip, pool
from contrastbench.jobs.encode import Features, encode, reference_features
from contrastbench.jobs.features_file import check_finite, labelled, read_features
from contrastbench.jobs.weights import load_trained, training_data
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.registry import WITHOUT_ENCODER


def features_on(grid: Grid, job: Job, device: str) -> tuple[Features, Prepared]:
    """Features of every labelled split that ``job`` is judged on: cached ones of its own data, else extracted now."""
    own = training_data(grid, job)
    if job.judged == job.trained.dataset:
        return read_features(grid, job, own), own
    data = open_prepared(grid.data_folder(job.track, job.judged))
    if job.method in WITHOUT_ENCODER:
        return reference_features(data), data
    method = load_trained(grid, job)
    try:
        features = encode(method, data, device, own)
    except UserError as error:
        raise UserError(f"{job.dataset}: {error}") from None
    check_finite(features, job.name)
    return features, data


def clips_of(features: Features, data: Prepared, splits: Sequence[str], class_of: str = "y") -> Clips:
    """The clips of some splits, one split after another; their classes are the column ``class_of``.

    Examples that no clip was cut into, such as images, are clips of their own.
    """
    parts = []
    for split in splits:
        rows = labelled(features, data, split)
        labels = rows.labels if class_of == "y" else np.asarray(data.column(split, class_of))
        parts.append(by_clip(rows.features, _clip(data, split), labels))
    return pool(parts)


def clip_column(data: Prepared, splits: Sequence[str], name: str) -> np.ndarray | None:
    """One value per clip (C,) of a column, in the order of :func:`clips_of`; None where there is no such column."""
    if any(name not in data.meta.splits[split].arrays for split in splits):
        return None
    first = [np.unique(_clip(data, split), return_index=True)[1] for split in splits]
    return np.concatenate([data.column(split, name)[rows] for split, rows in zip(splits, first, strict=True)])


def _clip(data: Prepared, split: str) -> np.ndarray:
    """The clip (N,) of each example."""
    facts = data.meta.splits[split]
    return np.asarray(data.column(split, "clip")) if "clip" in facts.arrays else np.arange(facts.count)
