"""Small prepared audio data sets and clip files for the tests."""

from pathlib import Path

import numpy as np
import soundfile

from contrastbench.datasets.base import Adapter, Split
from contrastbench.datasets.store import Meta, write_prepared

RATE = 16_000


def sound_split(clips: list[np.ndarray], y: list[int] | None, **columns: np.ndarray) -> Split:
    """Clips int16 of any lengths as a split."""
    offsets = np.cumsum([0, *map(len, clips)]).astype(np.int64)
    return Split(np.concatenate(clips), None if y is None else np.array(y), {"offsets": offsets, **columns})


def noise(samples: int, seed: int, level: float = 0.1) -> np.ndarray:
    return np.round(32768 * level * np.random.default_rng(seed).uniform(-1, 1, samples)).astype(np.int16)


def about(name: str = "toy", modality: str = "audio", classes: tuple[str, ...] = ("a", "b")) -> Adapter:
    return Adapter(name, modality, classes, "CC0", "made by the test", "as made", lambda raw, params: {})  # type: ignore[arg-type]


def prepared(folder: Path, splits: dict[str, Split], **facts: object) -> Meta:
    return write_prepared(folder, about(**facts), splits, "as made")  # type: ignore[arg-type]


def write_sound(path: Path, samples: int = 800, rate: int = RATE, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).uniform(-0.3, 0.3, samples), rate)
