"""What training runs and Snakemake left under ``runs/PRESET``, as tables of data for figures and provenance."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors import safe_open

from contrastbench.files import reading
from contrastbench.pipeline.layout import Job, Layout
from contrastbench.pipeline.stages import TRAINING


@dataclass(frozen=True)
class Run:
    """One training run: where it lies and what its ``run.json`` says."""

    stage: str
    track: str
    dataset: str
    method: str
    seed: int
    folder: Path
    record: dict


def runs_of(root: Path, preset: str) -> list[Run]:
    """Every training run of a preset whose record can be read."""
    return [run for stage in TRAINING for run in _runs(root / "runs" / preset / stage, stage)]


def _runs(folder: Path, stage: str) -> Iterator[Run]:
    for path in sorted(folder.glob("*/*/*/*/run.json")):
        track, dataset, method, seed = path.parent.relative_to(folder).parts
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            continue
        if seed.isdigit() and isinstance(record, dict):
            yield Run(stage, track, dataset, method, int(seed), path.parent, record)


def histories(runs: list[Run]) -> pd.DataFrame:
    """All ``history.csv`` below each other, with stage, track, dataset, method and seed; empty if there are none."""
    frames = []
    for run in runs:
        try:
            frame = pd.read_csv(run.folder / "history.csv")
        except (OSError, ValueError):
            continue  # a method that does not train has an empty history
        if "epoch" not in frame or frame.select_dtypes("number").shape[1] < frame.shape[1]:
            continue  # damaged
        facts = {"stage": run.stage, "track": run.track, "dataset": run.dataset, "method": run.method, "seed": run.seed}
        frames.append(frame.assign(**facts))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def benchmarks(root: Path, preset: str) -> pd.DataFrame:
    """Snakemake's measurements: one line per job with ``stage``, ``job``, ``seconds`` and ``peak_mb``."""
    folder = root / "runs" / preset / "benchmarks"
    lines = []
    for path in sorted(folder.glob("*/**/*.tsv")):
        try:
            frame = pd.read_csv(path, sep="\t", na_values="-")
            seconds, peak = float(frame["s"].mean()), float(frame["max_rss"].max())
        except (OSError, ValueError, TypeError, KeyError):  # damaged: what a job took is no result
            continue
        if not 0 <= seconds < math.inf or peak in (math.inf, -math.inf):
            continue
        stage, *job = path.relative_to(folder).with_suffix("").parts
        lines.append({"stage": stage, "job": "/".join(job), "seconds": seconds, "peak_mb": peak})
    return pd.DataFrame(lines, columns=["stage", "job", "seconds", "peak_mb"])


def judged_features(root: Path, preset: str, track: str, dataset: str, method: str, seed: int) -> np.ndarray | None:
    """Cached features (N, D) of the test split, or of all graphs, which have none; None where there are none."""
    path = root / Layout(preset).run("features", Job(track, dataset, method, seed)) / "features.safetensors"
    if not path.is_file():
        return None
    with reading(path, "file of features", "delete it and run the stage features again"), safe_open(path, "np") as file:
        splits = file.keys()
        return next((file.get_tensor(split) for split in ("test", "train") if split in splits), None)


def judged_labels(root: Path, preset: str, track: str, dataset: str) -> tuple[np.ndarray, list[str]] | None:
    """Labels (N,) of the same examples and the names of the classes; None where the data are not prepared."""
    layout = Layout(preset)
    for folder in (root / layout.prepared(dataset), root / layout.spectrograms(track, dataset)):
        if (folder / "meta.json").is_file():
            with reading(folder, "prepared data set", "delete it and prepare it again"):
                meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
                split = "test" if (folder / "test_y.npy").is_file() else "train"
                return np.load(folder / f"{split}_y.npy"), [str(name) for name in meta["classes"]]
    return None
