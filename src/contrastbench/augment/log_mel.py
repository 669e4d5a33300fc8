"""AudioMAE's log-mel front end for batches: Kaldi's filter bank as differentiable tensor code.

Equal to ``torchaudio.compliance.kaldi.fbank`` with AudioMAE's arguments (``tests/test_log_mel.py``), which takes
one waveform at a time. Specification of uaMix-MAE, section 2.
"""

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from contrastbench.datasets.base import SAMPLE_RATE
from contrastbench.errors import UserError

WINDOW, SHIFT, FFT = 400, 160, 512  # 25 ms, 10 ms, the next power of two
PREEMPHASIS = 0.97
LOW_HZ, HIGH_HZ = 20.0, SAMPLE_RATE / 2
EPSILON = torch.finfo(torch.float32).eps
FRAMES_AT_ONCE = 512  # keeps the intermediate results in the processor's cache
BANDS = 4  # of neighbouring filters, each multiplied with only its own part of the spectrum


def number_of_frames(samples: int) -> int:
    """Whole windows in ``samples`` samples (Kaldi's snip_edges)."""
    return 1 + (samples - WINDOW) // SHIFT if samples >= WINDOW else 0


def log_mel(waveforms: Tensor, mels: int) -> Tensor:
    """Log-mel energies (B, frames, mels) of waveforms (B, samples) in [-1, 1] at 16 kHz; float32.

    The waveform's mean is subtracted, then each window's; pre-emphasis 0.97 (the first sample is its own
    predecessor), symmetric Hann window, power spectrum, triangular mel filters from 20 Hz to 8 kHz, natural
    logarithm, clamped at float32's epsilon. Raises UserError for clips shorter than one window.
    """
    if waveforms.shape[1] < WINDOW:
        raise UserError(f"a clip of {waveforms.shape[1]} samples is shorter than one window ({WINDOW} samples)")
    waveforms = waveforms - waveforms.mean(dim=1, keepdim=True)
    window = torch.hann_window(WINDOW, periodic=False, device=waveforms.device)
    bands = [(part, filters.to(waveforms.device)) for part, filters in mel_bands(mels)]
    frames = waveforms.unfold(1, WINDOW, SHIFT)  # (B, frames, WINDOW), a view
    rows = max(1, FRAMES_AT_ONCE // frames.shape[1])
    return torch.cat([_log_mel_of_frames(part, window, bands) for part in frames.split(rows)])


def _log_mel_of_frames(frames: Tensor, window: Tensor, bands: list[tuple[slice, Tensor]]) -> Tensor:
    frames = frames - frames.mean(dim=2, keepdim=True)
    frames = frames - PREEMPHASIS * torch.cat([frames[..., :1], frames[..., :-1]], dim=2)
    spectrum = torch.fft.rfft(frames * window, n=FFT)
    power = spectrum.real.square() + spectrum.imag.square()
    return torch.cat([power[..., part] @ filters for part, filters in bands], dim=2).clamp_min(EPSILON).log()


@cache
def mel_bands(mels: int) -> list[tuple[slice, Tensor]]:
    """The filters in a few bands, each with the part of the spectrum that it reads; its weights elsewhere are 0."""
    bands = []
    for filters in mel_filters(mels).tensor_split(BANDS, dim=1):
        used = filters.any(dim=1).nonzero()
        part = slice(int(used[0]), int(used[-1]) + 1)
        bands.append((part, filters[part].contiguous()))
    return bands


def mel_filters(mels: int) -> Tensor:
    """(FFT / 2 + 1, mels) triangles, evenly spaced on Kaldi's mel scale 1127 ln(1 + f / 700)."""
    low, high = _mel(torch.tensor(LOW_HZ)), _mel(torch.tensor(HIGH_HZ))
    width = (high - low) / (mels + 1)
    left = low + width * torch.arange(mels)
    mel = _mel(torch.arange(FFT // 2) * (SAMPLE_RATE / FFT)).unsqueeze(1)
    rising, falling = (mel - left) / width, (left + 2 * width - mel) / width
    return functional.pad(torch.minimum(rising, falling).clamp_min(0), (0, 0, 0, 1))  # nothing at 8 kHz itself


def _mel(hertz: Tensor) -> Tensor:
    return 1127 * torch.log1p(hertz / 700)


def pad_or_cut(spectrograms: Tensor, frames: int) -> Tensor:
    """(B, T, mels) -> (B, frames, mels): padded with 0 at the end or cut, as AudioMAE does before normalising."""
    return functional.pad(spectrograms[:, :frames], (0, 0, 0, max(0, frames - spectrograms.shape[1])))


def normalise(spectrograms: Tensor, mean: float, std: float) -> Tensor:
    """(x - mean) / (2 std), AudioMAE's normalisation."""
    return (spectrograms - mean) / (2 * std)


def segment_count(samples: int, frames: int, most: int) -> int:
    """The number of segments of ``frames`` frames in a clip: whole ones, at least one, at most ``most``.

    A remainder of half a segment or more counts as one, and is padded.
    """
    return min(most, max(1, math.floor(number_of_frames(samples) / frames + 0.5)))
