"""Cached features and training records, read without torch, so that probes start fast."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from contrastbench.datasets.store import Prepared
from contrastbench.errors import UserError
from contrastbench.evaluation.labelled import Labelled
from contrastbench.files import reading, replacing
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job

SPLITS = ("train", "validation", "test")


def write_features(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write ``features.npz``; features that are not finite are refused, so that no protocol judges them."""
    for split, array in arrays.items():
        if not np.isfinite(array).all():
            raise UserError(f"{folder}: the {split} features are not finite; the training run has diverged")
    with replacing(folder / "features.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_features(folder: Path, splits: Iterable[str]) -> dict[str, np.ndarray]:
    """What :func:`write_features` left in ``folder``, which must hold all labelled ones of ``splits``."""
    path = folder / "features.npz"
    if not path.is_file():
        raise UserError(f"{path}: no such file; run the stage features first")
    with reading(path, "file of features", "delete it and run the stage features again"):
        with np.load(path) as archive:
            features = dict(archive)
        lacking = [split for split in splits if split != "unlabeled" and split not in features]
        if lacking:
            raise ValueError(f"without the split {', '.join(lacking)}")
    return features


def run_record(folder: Path) -> dict:
    """What :func:`write_run` left in ``run.json``; a missing or broken file is a UserError."""
    path = folder / "run.json"
    if not path.is_file():
        raise UserError(f"{path}: no such file; run the training first")
    with reading(path, "record of a training run", "delete it and run the training again"):
        record = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(record["device"], str) or not isinstance(record["warnings"], list):
            raise TypeError("device or warnings of the wrong type")
    return record


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


def training_record(grid: Grid, job: Job) -> tuple[str, dict]:
    """The device that trained the job's encoder, and what its training wants said beside every value.

    A warning of the training run (collapse, a loss that never moved) becomes a failed check of the row, so
    that no table hides it.
    """
    params = grid.pretrain_params(job)
    if params is None:
        return "cpu", {}
    record = run_record(grid.trained(job))
    return record["device"], {"failed_checks": record["warnings"]} if record["warnings"] else {}
