"""Small prepared audio data sets and clip files for the tests."""

from pathlib import Path

import numpy as np
import soundfile
from uamix_cases import FRAMES

from contrastbench.augment.log_mel import SHIFT, WINDOW
from contrastbench.datasets.base import Adapter, Split
from contrastbench.datasets.store import Meta, write_prepared

RATE = 16_000
SAMPLES = (FRAMES - 1) * SHIFT + WINDOW  # of a clip that fills a segment of the smallest track
PITCHES = (400.0, 1000.0, 2500.0)


def sound_split(clips: list[np.ndarray], y: list[int] | None, **columns: np.ndarray) -> Split:
    """Clips int16 of any lengths as a split."""
    offsets = np.cumsum([0, *map(len, clips)]).astype(np.int64)
    return Split(np.concatenate(clips), None if y is None else np.array(y), {"offsets": offsets, **columns})


def noise(samples: int, seed: int, level: float = 0.1) -> np.ndarray:
    return np.round(32768 * level * np.random.default_rng(seed).uniform(-1, 1, samples)).astype(np.int16)


def tones(count: int, seed: int, samples: int = SAMPLES) -> Split:
    """``count`` tones of every pitch, at any phase, in faint noise."""
    draw = np.random.default_rng(seed)
    y = [number % len(PITCHES) for number in range(count * len(PITCHES))]
    time = np.arange(samples) / 16_000
    clips = [
        (8000 * np.sin(2 * np.pi * (PITCHES[label] * time + draw.uniform()))).astype(np.int16)
        + noise(samples, seed=1000 * seed + number, level=0.01)
        for number, label in enumerate(y)
    ]
    return sound_split(clips, y)


def about(name: str = "toy", modality: str = "audio", classes: tuple[str, ...] = ("a", "b")) -> Adapter:
    return Adapter(name, modality, classes, "CC0", "made by the test", "as made", lambda raw, params: {})  # type: ignore[arg-type]


def prepared(folder: Path, splits: dict[str, Split], **facts: object) -> Meta:
    return write_prepared(folder, about(**facts), splits, "as made")  # type: ignore[arg-type]


def write_sound(path: Path, samples: int = 800, rate: int = RATE, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).uniform(-0.3, 0.3, samples), rate)
