"""Cached features and training records, read without torch, so that probes start fast."""

import json
from pathlib import Path

import numpy as np

from contrastbench.errors import UserError
from contrastbench.files import replacing


def write_features(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write ``features.npz``; features that are not finite are refused, so that no protocol judges them."""
    for split, array in arrays.items():
        if not np.isfinite(array).all():
            raise UserError(f"{folder}: the {split} features are not finite; the training run has diverged")
    with replacing(folder / "features.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_features(folder: Path) -> dict[str, np.ndarray]:
    """What :func:`write_features` left in ``folder``."""
    path = folder / "features.npz"
    if not path.is_file():
        raise UserError(f"{path}: no such file; run the stage features first")
    with np.load(path) as archive:
        return dict(archive)


def run_record(folder: Path) -> dict:
    """What :func:`write_run` left in ``run.json``; a missing or broken file is a UserError."""
    path = folder / "run.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"{path}: missing or not readable; run the stage pretrain again") from None
