"""Attacks on waveforms through a differentiable front end, bounded by a signal-to-noise ratio.

The perturbation is added to the waveform, where it can be played, not to the spectrogram, where it may correspond to
no sound. SNR in dB is 20 log10(|x| / |delta|) over the whole clip, so a clip's l2 radius is |x| 10^(-SNR / 20).
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from contrastbench.attacks.geometry import Bounds
from contrastbench.attacks.pgd import Perturbed, pgd
from contrastbench.errors import UserError

FULL_SCALE: Bounds = (-1.0, 1.0)


class WaveformClassifier(nn.Module):
    """Front end and classifier as one model: waveforms (N, samples) -> logits (N, classes)."""

    def __init__(self, front_end: Callable[[Tensor], Tensor], classifier: nn.Module) -> None:
        super().__init__()
        self.front_end = front_end
        self.classifier = classifier

    def forward(self, waveforms: Tensor) -> Tensor:
        """Logits of the front end's output."""
        return self.classifier(self.front_end(waveforms))


def snr_radius(waveforms: Tensor, snr_db: float) -> Tensor:
    """l2 radius (N,) of a perturbation of ``waveforms`` (N, samples) at ``snr_db``; a silent clip has radius 0."""
    return waveforms.norm(dim=1) * 10 ** (-snr_db / 20)


def snr(waveforms: Tensor, perturbed: Tensor) -> Tensor:
    """Signal-to-noise ratio (N,) in dB; inf where nothing was changed, even for a silent clip."""
    noise = (perturbed - waveforms).norm(dim=1)
    return torch.where(noise == 0, torch.inf, 20 * torch.log10(waveforms.norm(dim=1) / noise))


def attack_waveforms(
    front_end: Callable[[Tensor], Tensor],
    classifier: nn.Module,
    waveforms: Tensor,
    labels: Tensor,
    *,
    snr_db: float,
    steps: int,
    generator: Generator,
    batch_size: int = 32,
) -> Perturbed:
    """l2 PGD on ``waveforms`` (N, samples) in [-1, 1] at an SNR of at least ``snr_db``; step: a tenth of the radius.

    ``front_end`` maps (B, samples) to the classifier's input differentiably. Raises UserError when no
    gradient reaches the waveform, or when ``snr_db`` is not a finite number.
    """
    if not torch.isfinite(torch.tensor(snr_db)):
        raise UserError(f"snr_db = {snr_db}: must be a finite number of decibels")
    radius = snr_radius(waveforms, snr_db)
    return pgd(
        WaveformClassifier(front_end, classifier),
        waveforms,
        labels,
        eps=radius,
        steps=steps,
        step_size=radius / 10,
        norm="l2",
        bounds=FULL_SCALE,
        batch_size=batch_size,
        generator=generator,
    )
