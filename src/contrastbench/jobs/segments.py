"""Where the segments of sound lie that spectrograms are made of, and their waveforms."""

from dataclasses import dataclass

import numpy as np
import torch

from contrastbench.augment.log_mel import SHIFT, WINDOW, segment_count
from contrastbench.datasets.store import Prepared
from contrastbench.params.audio import FrontEndParams


@dataclass(frozen=True)
class Segments:
    """Where the segments of a split lie in its samples.

    clip   (N,) number of the clip that a segment is cut from
    start  (N,) first sample; stop (N,) the end of what the clip has for it
    """

    clip: np.ndarray
    start: np.ndarray
    stop: np.ndarray


def segments_of(data: Prepared, split: str, params: FrontEndParams) -> Segments:
    """Segments one after another from every clip's beginning."""
    offsets = np.asarray(data.column(split, "offsets"))
    lengths = np.diff(offsets)
    counts = np.array([segment_count(int(length), params.frames, params.segments) for length in lengths])
    clip = np.repeat(np.arange(len(lengths)), counts)
    number = np.arange(len(clip)) - np.repeat(np.cumsum(counts) - counts, counts)
    start = offsets[clip] + number * params.frames * SHIFT
    stop = np.minimum(start + samples_in(params.frames), offsets[clip + 1])
    return Segments(clip, start, stop)


def samples_in(frames: int) -> int:
    """Samples that ``frames`` whole windows span."""
    return (frames - 1) * SHIFT + WINDOW


def waveforms(samples: np.ndarray, start: np.ndarray, stop: np.ndarray, frames: int) -> torch.Tensor:
    """Segments (B, samples) in [-1, 1] of 16-bit ``samples``; 0 behind the end of a clip.

    That zero only fills frames that are blanked afterwards (Kaldi's whole windows only).
    """
    position = start[:, None] + np.arange(samples_in(frames))
    end = stop[:, None]
    wave = np.where(position < end, samples[np.minimum(position, end - 1)], 0)
    return torch.from_numpy(wave).float() / 32768
