"""Builds result rows for the tests of reporting."""

from pathlib import Path

import numpy as np

from contrastbench.results.load import ROWS
from contrastbench.results.rows import Row, pack_correct, row_path, write_row


def row(
    method: str = "simclr",
    seed: int = 0,
    value: float = 0.5,
    *,
    correct: np.ndarray | None = None,
    protocol: str = "linear",
    metric: str = "top1",
    dataset: str = "mnist5k",
    track: str = "unremix",
    preset: str = "default",
    n: int = 500,
    data_hash: str = "d" * 12,
    params_hash: str = "p" * 12,
    code_hash: str = "c" * 12,
    **detail: object,
) -> Row:
    if correct is not None:
        value, n = float(np.mean(correct)), len(correct)
    return Row(
        track=track,
        method=method,
        dataset=dataset,
        protocol=protocol,
        metric=metric,
        seed=seed,
        value=value,
        n=n,
        preset=preset,
        params_hash=params_hash,
        data_hash=data_hash,
        code_hash=code_hash,
        device="cpu",
        wall_s=1.0,
        peak_mb=100.0,
        correct=None if correct is None else pack_correct(correct),
        detail=detail,
    )


def verdicts(rate: float, n: int = 500, seed: int = 0) -> np.ndarray:
    """(n,) bool, correct where a difficulty that all rates share is low: higher rates win on nested examples."""
    difficulty = np.random.default_rng(0).permutation(n) / n
    noise = np.random.default_rng(seed + 1).normal(0, 0.02, n)
    return difficulty + noise < rate


def write(root: Path, rows: list[Row], stage: str = "probe") -> None:
    for item in rows:
        write_row(row_path(root / ROWS, stage, item), item)
