"""Stripes in four directions, drawn here. Your own reader takes files from the folder ``raw``, data/raw/NAME/."""

from pathlib import Path

import numpy as np

from contrastbench.datasets.base import Adapter, Split
from contrastbench.params.data import DataParams

CLASSES = ("horizontal", "vertical", "falling", "rising")
SIZE = 16  # pixels a side
COUNTS = {"train": 60, "test": 30}  # of each class; a part of `train` becomes `validation`


def read(raw: Path, params: DataParams) -> dict[str, Split]:
    """The splits: x (N, H, W, C) uint8, and the class numbers y (N,)."""
    draw = np.random.default_rng(0)
    return {split: draw_split(draw, count) for split, count in COUNTS.items()}


def draw_split(draw: np.random.Generator, count: int) -> Split:
    """``count`` pictures of each class, with stripes of any width and place under noise."""
    row, column = np.mgrid[:SIZE, :SIZE]
    along = {"horizontal": row, "vertical": column, "falling": row - column, "rising": row + column}
    labels = np.repeat(np.arange(len(CLASSES)), count)
    frequency, phase = draw.uniform(0.8, 1.4, len(labels)), draw.uniform(0, 2 * np.pi, len(labels))
    waves = [np.sin(frequency[at] * along[CLASSES[label]] + phase[at]) for at, label in enumerate(labels)]
    noisy = np.stack(waves) + draw.normal(0, 0.3, (len(labels), SIZE, SIZE))
    x = np.clip(128 + 80 * noisy, 0, 255).astype(np.uint8)
    return Split(x[..., None], labels)


ADAPTER = Adapter(
    name="stripes",
    modality="image",
    classes=CLASSES,
    licence="none needed",
    source="drawn by datasets/stripes.py",
    split_rule="train and test as drawn",
    read=read,
)
