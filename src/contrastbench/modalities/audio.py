"""Sound: stored as normalised log-mel segments float16 (N, T, F), seen as (B, 1, T, F)."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Generator, Tensor

from contrastbench.augment.audio import augment_spectrograms
from contrastbench.augment.log_mel import log_mel, normalise, pad_or_cut
from contrastbench.datasets.store import FrontEnd, Prepared
from contrastbench.modalities.base import Modality
from contrastbench.models.base import Encoder, Shape
from contrastbench.params.audio import AudioAugmentParams
from contrastbench.params.base import Section
from contrastbench.params.vit import ViTParams


class Audio(Modality):
    """Spectrograms of sound, which the stage ``spectrograms`` makes."""

    def inputs(self, rows: np.ndarray | Tensor, device: torch.device) -> Tensor:
        """float16 (B, T, F) -> float32 (B, 1, T, F)."""
        return torch.as_tensor(rows).to(device, non_blocking=True).float().unsqueeze(1)

    def input_shape(self, data: Prepared) -> Shape:
        """(1, T, F)."""
        frames, mels = data.x("train").shape[1:]
        return 1, frames, mels

    def build_encoder(self, params: Section, input_shape: Shape) -> Encoder:
        """A vision transformer on time x mel patches."""
        from contrastbench.models.vit import AudioViT  # timm: rows without an encoder do without

        assert isinstance(params, ViTParams)
        return AudioViT(params, input_shape)

    def augmentation(self, params: Section) -> Callable[[Tensor, Generator], Tensor]:
        """Gain, roll, crop, masks."""
        assert isinstance(params, AudioAugmentParams)
        return lambda spectrograms, generator: augment_spectrograms(spectrograms, params, generator)

    def reference_features(self, data: Prepared, split: str) -> np.ndarray:
        """Mean and standard deviation over time of each mel bin: (N, 2 F)."""
        spectrograms = data.x(split).astype(np.float32)
        return np.concatenate([spectrograms.mean(axis=1), spectrograms.std(axis=1)], axis=1)


def differentiable(front_end: FrontEnd) -> Callable[[Tensor], Tensor]:
    """Waveforms (B, samples) in [-1, 1] -> what the encoder sees, (B, 1, T, F), with gradients."""

    def through(wave: Tensor) -> Tensor:
        energies = pad_or_cut(log_mel(wave, front_end.mels), front_end.frames)
        return normalise(energies, front_end.mean, front_end.std).unsqueeze(1)

    return through
