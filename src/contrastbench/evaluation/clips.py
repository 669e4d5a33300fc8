"""Features of clips that are cut into segments."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Clips:
    """Features grouped by clip.

    features  (N, D) float32, one row per segment
    segments  (C, S) rows of each clip's segments, padded at the end with -1 where a clip has fewer than S
    labels    (C,) the class of each clip
    """

    features: np.ndarray
    segments: np.ndarray
    labels: np.ndarray

    def take(self, clips: np.ndarray) -> "Clips":
        """The clips at these positions, or where this mask (C,) is true."""
        return Clips(self.features, self.segments[clips], self.labels[clips])

    def segment_rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Features (M, D) of all present segments, and their clips' labels (M,)."""
        present = self.segments >= 0
        return self.features[self.segments[present]], np.repeat(self.labels, present.sum(axis=1))


def by_clip(features: np.ndarray, clip: np.ndarray, labels: np.ndarray) -> Clips:
    """Group segments by ``clip`` (N,), the sorted numbers 0 to C - 1; ``labels`` (N,) are the segments' classes."""
    first = np.searchsorted(clip, np.arange(clip[-1] + 1))
    position = np.arange(len(clip)) - first[clip]
    segments = np.full((len(first), position.max() + 1), -1)
    segments[clip, position] = np.arange(len(clip))
    return Clips(features, segments, labels[first])


def pool(parts: list[Clips]) -> Clips:
    """Concatenate the clips of several splits."""
    widest = max(part.segments.shape[1] for part in parts)
    rows, start = [], 0
    for part in parts:
        missing = np.full((len(part.segments), widest - part.segments.shape[1]), -1)
        shifted = np.where(part.segments >= 0, part.segments + start, -1)
        rows.append(np.concatenate([shifted, missing], axis=1))
        start += len(part.features)
    features = np.concatenate([part.features for part in parts])
    return Clips(features, np.concatenate(rows), np.concatenate([part.labels for part in parts]))
