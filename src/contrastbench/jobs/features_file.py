"""Cached features, one file per trained encoder, which is mapped into memory and not read before it is used."""

from dataclasses import replace

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from contrastbench.datasets.store import Prepared
from contrastbench.errors import UserError
from contrastbench.evaluation.labelled import Labelled
from contrastbench.files import file_hash, reading, write_bytes
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.registry import WITHOUT_ENCODER

FILE = "features.safetensors"
SPLITS = ("train", "validation", "test")
ORIGIN = "made_from"  # beside the arrays of the splits


def origin_of(grid: Grid, job: Job, data: Prepared) -> str:
    """What a job's features are made from: data, weights and code, by their hashes."""
    made = f"{data.contents} {grid.code('features', job.trained)}"
    if job.method in WITHOUT_ENCODER:
        return made
    weights = grid.trained(job) / "model.safetensors"
    if not weights.is_file():
        raise UserError(f"{weights}: no such file; run the stage {grid.training_stage(job)} first")
    return f"{made} {file_hash(weights)}"


def write_features(grid: Grid, job: Job, data: Prepared, arrays: dict[str, np.ndarray]) -> None:
    """Write the file of features; features that are not finite are refused, so that no protocol judges them."""
    folder = grid.layout.run("features", job)
    check_finite(arrays, str(folder))
    dense = {split: np.ascontiguousarray(array) for split, array in arrays.items()}
    write_bytes(folder / FILE, save(dense, {ORIGIN: origin_of(grid, job, data)}))


def check_finite(arrays: dict[str, np.ndarray], where: str) -> None:
    """Refuse features that are not finite: the probes would judge them, and say nothing."""
    for split, array in arrays.items():
        if not np.isfinite(array).all():
            raise UserError(f"{where}: the {split} features are not finite; the training run has diverged")


def read_features(grid: Grid, job: Job, data: Prepared) -> dict[str, np.ndarray]:
    """What :func:`write_features` left for ``job``: a mapped array (N, D) for every labelled split of ``data``.

    Features of other data, weights or code than those that are there now are a UserError.
    """
    path = grid.layout.run("features", job.trained) / FILE
    again = f"contrastbench features {job.trained.name} --preset {grid.preset}"
    if not path.is_file():
        raise UserError(f"{path}: no such file; run `{again}` first")
    with reading(path, "file of features", f"delete it and run `{again}`"):
        with safe_open(path, "pt") as file:  # for numpy, the library copies what it reads
            splits, origin = file.keys(), (file.metadata() or {}).get(ORIGIN)
            features = {split: file.get_tensor(split).numpy() for split in splits}
        lacking = [split for split in data.meta.splits if split != "unlabeled" and split not in features]
        if lacking:
            raise ValueError(f"without the split {', '.join(lacking)}")
    if origin != origin_of(grid, job, data):
        raise UserError(f"{path}: made from other data, weights or code than those that are here; run `{again}`")
    return features


def labelled(features: dict[str, np.ndarray], data: Prepared, split: str) -> Labelled:
    """Features and labels of one split; their counts must agree."""
    labels = data.y(split)
    if labels is None:
        raise UserError(f"{data.folder}: the split {split!r} has no labels to judge by")
    if len(features[split]) != len(labels):
        raise UserError(f"{split}: {len(features[split])} features for {len(labels)} labels; extract them again")
    return Labelled(features[split], np.asarray(labels))


def examples(features: dict[str, np.ndarray], data: Prepared, split: str) -> Labelled:
    """Like :func:`labelled`; where sound is cut into several segments, with the clip of each."""
    rows = labelled(features, data, split)
    if "clip" not in data.meta.splits[split].arrays:
        return rows
    clip = np.asarray(data.column(split, "clip"))
    return rows if len(np.unique(clip)) == len(clip) else replace(rows, clip=clip)
