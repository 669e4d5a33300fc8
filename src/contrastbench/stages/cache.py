"""Cached features and training records, read without torch, so that probes start fast."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from contrastbench.errors import UserError
from contrastbench.files import reading, replacing


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
