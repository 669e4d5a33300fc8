"""The front end against torchaudio's Kaldi filter bank, and its edges."""

import numpy as np
import pytest
import torch

from contrastbench import torch_compat  # noqa: F401  (before torchaudio)
from contrastbench.augment.log_mel import (
    SHIFT,
    WINDOW,
    log_mel,
    normalise,
    number_of_frames,
    pad_or_cut,
    segment_count,
)
from contrastbench.errors import UserError

RATE = 16_000


def waves(kind: str, samples: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    time = torch.arange(samples) / RATE
    if kind == "noise":
        return 0.3 * torch.randn(2, samples, generator=generator)
    if kind == "tones":
        return torch.stack([0.5 * torch.sin(2 * torch.pi * hertz * time) for hertz in (440.0, 3210.0)])
    if kind == "offset":
        return 0.4 + 0.01 * torch.randn(2, samples, generator=generator)
    return 0.2 * torch.sin(2 * torch.pi * (50 + 3000 * time) * time).repeat(2, 1)  # a sweep


def kaldi(wave: torch.Tensor, mels: int) -> torch.Tensor:
    """AudioMAE's call (facebookresearch/AudioMAE, dataset.py)."""
    from torchaudio.compliance.kaldi import fbank

    wave = wave - wave.mean()
    return fbank(
        wave.unsqueeze(0),
        htk_compat=True,
        sample_frequency=RATE,
        use_energy=False,
        window_type="hanning",
        num_mel_bins=mels,
        dither=0.0,
        frame_shift=10,
    )


@pytest.mark.parametrize("mels", [32, 64, 128])
@pytest.mark.parametrize("kind", ["noise", "tones", "offset", "sweep"])
def test_equals_torchaudio(kind: str, mels: int) -> None:
    wave = waves(kind, RATE + 77)
    expected = torch.stack([kaldi(row, mels) for row in wave])
    found = log_mel(wave, mels)
    assert found.shape == expected.shape == (2, number_of_frames(RATE + 77), mels)
    assert (found - expected).abs().max() < 1e-3


def test_batches_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    from contrastbench.augment import log_mel as module

    wave = waves("noise", RATE).repeat(3, 1) * torch.arange(1, 7).unsqueeze(1)
    whole = log_mel(wave, 64)
    monkeypatch.setattr(module, "FRAMES_AT_ONCE", 150)
    assert torch.equal(log_mel(wave, 64), whole)


def test_padding_behind_a_clip_does_not_reach_its_frames() -> None:
    wave = waves("noise", RATE)
    frames = number_of_frames(RATE)
    padded = log_mel(torch.nn.functional.pad(wave, (0, 5000)), 64)[:, :frames]
    torch.testing.assert_close(padded, log_mel(wave, 64), atol=1e-3, rtol=0)


def test_silence_is_finite_and_gradients_flow() -> None:
    silent = torch.zeros(1, 4000, requires_grad=True)
    assert torch.isfinite(log_mel(silent, 64)).all()
    sounding = waves("noise", 4000).requires_grad_()
    log_mel(sounding, 64).sum().backward()
    assert sounding.grad is not None and torch.isfinite(sounding.grad).all() and sounding.grad.abs().sum() > 0


@pytest.mark.parametrize("samples", [0, 1, WINDOW - 1])
def test_refuses_clips_without_a_whole_window(samples: int) -> None:
    with pytest.raises(UserError, match=f"{samples} samples is shorter"):
        log_mel(torch.zeros(1, samples), 64)


def test_frames_segments_and_padding() -> None:
    assert [number_of_frames(n) for n in (0, WINDOW - 1, WINDOW, WINDOW + SHIFT - 1, WINDOW + SHIFT)] == [0, 0, 1, 1, 2]
    assert number_of_frames(10 * RATE) == 998  # AudioMAE: "10 s gives 998"
    second = 128 * SHIFT
    assert [segment_count(int(n * second) + 240, 128, 4) for n in (0.1, 1, 1.4, 1.6, 3, 9)] == [1, 1, 1, 2, 3, 4]
    x = torch.arange(6.0).view(1, 3, 2)
    assert torch.equal(pad_or_cut(x, 2), x[:, :2])
    assert torch.equal(pad_or_cut(x, 4), torch.cat([x, torch.zeros(1, 1, 2)], dim=1))


def test_normalisation_divides_by_two_deviations() -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(-4.0, 3.0, (8, 50, 16)))
    y = normalise(x, float(x.mean()), float(x.std()))
    assert abs(y.mean()) < 1e-6 and abs(y.std() - 0.5) < 1e-6
