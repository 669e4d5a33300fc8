"""Batched augmentation of spectrograms: each part against its definition, one sample at a time."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import beta as beta_distribution
from scipy.stats import ks_2samp, kstest

from contrastbench.augment.audio import (
    ASSUMED_STD,
    augment_spectrograms,
    mask,
    resize_crop,
    roll,
    sample_crops,
    sample_gain,
    sample_shift,
)
from contrastbench.augment.log_mel import log_mel
from contrastbench.params.audio import AudioAugmentParams
from contrastbench.params.base import validate
from contrastbench.params.root import load

OFF = AudioAugmentParams(
    gain=0.0,
    roll=0.0,
    crop_probability=0.0,
    canvas=(1.5, 1.0),
    crop_time=(0.6, 1.5),
    crop_mel=(0.6, 1.5),
    time_mask=0,
    mel_mask=0,
)
ALL = OFF.model_copy(update={"gain": 0.5, "roll": 0.5, "crop_probability": 0.7, "time_mask": 8, "mel_mask": 6})


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(count: int = 6, frames: int = 32, mels: int = 24) -> torch.Tensor:
    return torch.randn(count, 1, frames, mels, generator=seeded(9))


def test_everything_off_changes_nothing() -> None:
    x = batch()
    assert torch.equal(augment_spectrograms(x, OFF, seeded()), x)


@pytest.mark.parametrize("part", ["gain", "roll", "crop_probability", "time_mask", "mel_mask"])
def test_every_part_is_switched_by_its_parameter(part: str) -> None:
    x = batch()
    kept = x.clone()
    changed = augment_spectrograms(x, OFF.model_copy(update={part: getattr(ALL, part)}), seeded())
    assert changed.shape == x.shape and torch.isfinite(changed).all()
    assert not torch.equal(changed, x) and torch.equal(x, kept)


def test_same_generator_same_view_and_samples_differ() -> None:
    x = batch(1).repeat(6, 1, 1, 1)
    first = augment_spectrograms(x, ALL, seeded(4))
    assert torch.equal(first, augment_spectrograms(x, ALL, seeded(4)))
    assert not torch.equal(first, augment_spectrograms(x, ALL, seeded(5)))
    assert all(not torch.equal(first[0], other) for other in first[1:])


def test_gain_is_audiomaes_on_the_waveform() -> None:
    """x U with U = Beta(10, 10) + 0.5 adds 2 ln U to the log-mel, which the normalisation divides by 2 std."""
    added = sample_gain(20_000, 0.5, seeded())
    factor = torch.exp(added * ASSUMED_STD).numpy()
    assert kstest(factor - 0.5, beta_distribution(10, 10).cdf).pvalue > 0.01
    wave = 0.1 * torch.randn(1, 8000, generator=seeded(1))
    louder = log_mel(wave * float(factor[0]), 32) - log_mel(wave, 32)
    assert torch.allclose(louder / (2 * ASSUMED_STD), added[0].expand_as(louder), atol=1e-4)


def test_roll_is_torchs_sample_by_sample() -> None:
    x = batch()
    shift = sample_shift(6, 32, 0.5, seeded(2))
    expected = torch.stack([sample.roll(int(s), dims=1) for sample, s in zip(x, shift, strict=True)])
    assert torch.equal(roll(x, shift), expected)
    many = sample_shift(20_000, 32, 0.25, seeded())
    assert many.min() == -8 and many.max() == 8
    assert (torch.bincount(many + 8) / 20_000 - 1 / 17).abs().max() < 0.008


def test_crops_lie_on_the_canvas_with_sizes_in_range() -> None:
    crops = sample_crops(5000, ALL, seeded())
    left_out = (crops == torch.tensor([0.0, 0.0, 1.0, 1.0])).all(1)
    assert abs(left_out.float().mean() - 0.3) < 0.03
    top, left, height, width = crops[~left_out].T
    for start, size, canvas, low in ((top, height, 1.5, 0.6), (left, width, 1.0, 0.6)):
        assert (size >= low - 1e-6).all() and (size <= min(1.5, canvas) + 1e-6).all()
        edge = (1 - canvas) / 2
        assert (start >= edge - 1e-6).all() and (start + size <= 1 - edge + 1e-6).all()
    assert height.max() > 1.4 and (top < -0.1).any()


@pytest.mark.parametrize(("preset", "mel_sizes"), [("default", (0.5, 1.0)), ("paper", (0.6, 1.5))])
def test_crop_is_byol_as_padded_in_time_and_never_in_frequency(
    repository: Path, preset: str, mel_sizes: tuple[float, float]
) -> None:
    """BYOL-A: virtual_crop_scale (F, T) = (1.0, 1.5), sizes 0.6 to 1.5 cut to the canvas (default: 0.5 to 1 in F)."""
    crops = sample_crops(20_000, load(preset, repository).uamix.augment, seeded())
    draw = np.random.default_rng(0)
    for axis, canvas, sizes in ((0, 1.5, (0.6, 1.5)), (1, 1.0, mel_sizes)):
        size = np.minimum(draw.uniform(*sizes, 20_000), canvas)
        start = (1 - canvas) / 2 + draw.uniform(size=20_000) * (canvas - size)
        for found, expected in ((crops[:, axis + 2], size), (crops[:, axis], start)):
            assert ks_2samp(found.numpy(), expected.astype(np.float32)).pvalue > 0.001


def test_resize_crop_equals_bilinear_sampling_on_the_padded_canvas() -> None:
    x = batch(4, 12, 10)
    crops = torch.tensor([[0, 0, 1, 1], [0.1, 0.2, 0.6, 0.7], [0.0, -0.25, 1.0, 1.5], [0.35, -0.1, 0.62, 0.9]])
    found = resize_crop(x, crops)
    assert torch.allclose(found[0], x[0], atol=1e-6)
    for sample, crop, result in zip(x[:, 0].numpy(), crops.tolist(), found[:, 0].numpy(), strict=True):
        expected = np.zeros((12, 10))
        for i in range(12):
            for j in range(10):
                t = crop[0] * 12 + (i + 0.5) * crop[2] - 0.5
                f = crop[1] * 10 + (j + 0.5) * crop[3] - 0.5
                for row in (int(np.floor(t)), int(np.floor(t)) + 1):
                    for column in (int(np.floor(f)), int(np.floor(f)) + 1):
                        if 0 <= row < 12 and 0 <= column < 10:
                            expected[i, j] += (1 - abs(t - row)) * (1 - abs(f - column)) * sample[row, column]
        assert np.abs(result - expected).max() < 1e-5


@pytest.mark.parametrize("axis", [2, 3])
def test_masks_hide_one_run_over_the_whole_other_axis(axis: int) -> None:
    x = torch.ones(3000, 1, 20, 16)
    hidden = (mask(x, axis, 5, seeded()) == 0).squeeze(1)
    runs = hidden.any(2) if axis == 2 else hidden.any(1)
    assert torch.equal(hidden, runs.unsqueeze(2 if axis == 2 else 1).expand_as(hidden))
    lengths = runs.sum(1)
    assert (torch.bincount(lengths, minlength=6) / 3000 - 1 / 6).abs().max() < 0.03
    starts = (runs[:, 1:] & ~runs[:, :-1]).sum(1) + runs[:, 0]
    assert ((starts == 1) | (lengths == 0)).all()
    edge = (
        sum(1 / (runs.shape[1] - n + 1) for n in range(1, 6)) / 6
    )  # how often a uniform start hides the first position
    assert abs(runs[:, 0].float().mean() - edge) < 0.02 and runs.float().mean(0).argmin() in (0, runs.shape[1] - 1)


def test_a_mask_longer_than_the_spectrogram_is_cut() -> None:
    hidden = (mask(torch.ones(500, 1, 4, 4), 2, 100, seeded()) == 0).sum((1, 2, 3)) / 4
    assert sorted(set(hidden.tolist())) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [("crop_time", [1.5, 0.6], "crop_time must be"), ("roll", 0.7, "roll"), ("canvas", [0.5, 1.0], "canvas")],
)
def test_bad_parameters_are_one_line(key: str, value: object, message: str) -> None:
    content = OFF.model_dump(mode="json") | {key: value}
    with pytest.raises(Exception, match=message):
        validate(AudioAugmentParams, content, lambda _: "params.yaml")
