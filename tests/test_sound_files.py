"""Decoding: formats, rates, channels, and what happens to bad clips."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import resample_poly

from contrastbench import torch_compat  # noqa: F401  (before torchaudio)
from contrastbench.datasets import sound_files
from contrastbench.datasets.sound_files import BadClip, decode, read_sounds, refuse_bad, resample
from contrastbench.errors import UserError
from contrastbench.params.data import DataParams

RATE = 16_000
SKIP = DataParams(validation_fraction=0.1, on_bad_clip="skip")
REFUSE = DataParams(validation_fraction=0.1)


def tone(samples: int = RATE, rate: int = RATE, hertz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(samples) / rate)


def encoded(wave: np.ndarray, rate: int = RATE, form: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format=form, subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize(("form", "subtype"), [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("WAV", "FLOAT")])
def test_lossless_forms_come_back_exactly(form: str, subtype: str) -> None:
    samples = np.random.default_rng(0).integers(-32768, 32768, 3000).astype(np.int16)
    wave = samples / 32768 if subtype == "FLOAT" else samples
    assert np.array_equal(decode(encoded(wave, form=form, subtype=subtype)), samples)


@pytest.mark.parametrize("subtype", ["OPUS", "VORBIS"])
def test_lossy_forms_come_back_nearly(subtype: str) -> None:
    wave = tone()
    found = decode(encoded(wave, form="OGG", subtype=subtype)) / 32768
    assert len(found) == len(wave)
    assert np.corrcoef(found[800:-800], wave[800:-800])[0, 1] > 0.99


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_resampled_tones_keep_their_pitch_level_and_length(rate: int) -> None:
    found = decode(encoded(tone(2 * rate, rate), rate)) / 32768
    assert len(found) == 2 * RATE
    expected = tone(2 * RATE)
    assert np.abs(found - expected)[200:-200].max() < 2e-3


def test_resampling_is_scipys_default() -> None:
    wave = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    assert np.allclose(resample(wave, 44100), resample_poly(wave, 160, 441), atol=1e-6)


def test_resampling_keeps_and_rejects_more_than_torchaudio() -> None:
    """Gain from 44.1 kHz to 16 kHz: 7 kHz should be kept, 9 kHz and above would come back as aliases."""
    from torchaudio.functional import resample as sinc

    def gains(hertz: float) -> tuple[float, float]:
        wave = tone(44100, 44100, hertz).astype(np.float32)
        ours, theirs = resample(wave, 44100), sinc(torch.from_numpy(wave), 44100, RATE).numpy()
        return 2 * np.abs(ours[500:-500]).max(), 2 * np.abs(theirs[500:-500]).max()

    ours, theirs = gains(7000.0)
    assert ours > 0.95 and ours > theirs + 0.1
    for hertz, most in ((9000.0, 0.04), (10000.0, 0.003), (15000.0, 0.0003)):
        ours, theirs = gains(hertz)
        assert ours < most and ours < theirs


def test_stereo_is_averaged_or_refused() -> None:
    both = encoded(np.stack([tone(), -0.5 * tone()], axis=1))
    assert np.abs(decode(both) / 32768 - 0.25 * tone()).max() < 1e-3
    with pytest.raises(BadClip, match="2 channels"):
        decode(both, stereo="refuse")


def test_channels_that_cancel_each_other_leave_the_first() -> None:
    left = tone()
    assert np.abs(decode(encoded(np.stack([left, -left], axis=1))) / 32768 - left).max() < 1e-4
    nearly = np.stack([left, -0.9 * left], axis=1)
    assert np.abs(decode(encoded(nearly)) / 32768 - left).max() < 1e-4
    assert not decode(encoded(np.zeros((RATE, 2)))).any()
    apart = np.stack([left, np.zeros(RATE)], axis=1)
    assert np.abs(decode(encoded(apart)) / 32768 - left / 2).max() < 1e-4


def test_overshoot_is_clipped() -> None:
    """Codecs overshoot full scale; samples on another scale are a bad clip."""
    found = decode(encoded(4 * tone(), subtype="FLOAT"))
    assert found.max() == 32767 and found.min() == -32768 and np.mean(np.abs(found.astype(int)) < 32767) > 0.3


def bad_clips() -> dict[str, tuple[bytes, str]]:
    hole = tone()
    hole[7] = np.nan
    noise = np.random.default_rng(1).uniform(-0.3, 0.3, 10 * RATE)
    wav, flac = encoded(noise), encoded(noise, form="FLAC")
    ogg = encoded(noise, form="OGG", subtype="VORBIS")
    wrong_rate = bytearray(wav)
    wrong_rate[24:28] = (7).to_bytes(4, "little")
    return {
        "empty": (b"", "empty file"),
        "text": (b"this is no sound file " * 50, "cannot be decoded"),
        "no-samples": (encoded(np.zeros(0)), "no samples"),
        "one-sample": (encoded(np.ones(1) / 2), "1 sample, shorter than 25 ms"),
        "nan": (encoded(hole, subtype="FLOAT"), "NaN"),
        "int16-scale": (encoded(tone() * 32768, subtype="FLOAT"), "samples up to 16384, where full scale is 1"),
        "negative": (encoded(-np.abs(tone()) * 10, subtype="FLOAT"), "samples up to 5, where full scale is 1"),
        "mp4": (b"\0\0\0\x20ftypM4A ".ljust(999, b"\0"), "cannot be decoded .*convert it to FLAC or WAV"),
        "cut-wav": (wav[: len(wav) // 2], "truncated"),
        "cut-flac": (flac[: len(flac) // 2], "decoded|truncated"),
        "cut-ogg": (ogg[: len(ogg) // 2], "decoded|truncated"),
        "rate": (bytes(wrong_rate), "sample rate 7 Hz"),
    }


@pytest.mark.parametrize("kind", sorted(bad_clips()))
def test_bad_clips_are_told(kind: str) -> None:
    content, reason = bad_clips()[kind]
    with pytest.raises(BadClip, match=reason):
        decode(content)


def test_a_rate_that_the_data_set_is_not_published_in_is_bad() -> None:
    assert len(decode(encoded(tone(800, 8000), 8000), rates=(8000,))) == 1600
    with pytest.raises(BadClip, match="sample rate 16000 Hz, expected 8000"):
        decode(encoded(tone()), rates=(8000,))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.wav").write_bytes(encoded(tone(1600)))
    (tmp_path / "bad.wav").write_bytes(b"")
    (tmp_path / "c.wav").write_bytes(encoded(tone(3200)))
    return tmp_path


def test_skipping_keeps_the_others_in_order(folder: Path) -> None:
    names = ["a", "bad", "absent", "c"]
    sounds = read_sounds([(name, folder / f"{name}.wav") for name in names], folder, SKIP)
    assert sounds.kept.tolist() == [True, False, False, True]
    assert sounds.offsets.tolist() == [0, 1600, 4800]
    assert sounds.bad == ["bad: empty file", "absent: No such file or directory"]
    assert np.array_equal(sounds.samples[1600:], decode((folder / "c.wav").read_bytes()))
    refuse_bad(sounds.bad, 4, SKIP)


def test_a_file_larger_than_memory_is_told(folder: Path) -> None:
    with (folder / "huge.wav").open("wb") as file:
        file.truncate(sound_files.LARGEST + 1)
    sounds = read_sounds([("huge", folder / "huge.wav"), ("a", folder / "a.wav")], folder, SKIP)
    assert sounds.bad == ["huge: larger than 2 GiB; cut it into shorter files"]


def test_clips_that_are_all_silent_are_refused(folder: Path) -> None:
    """Their spectrograms have no standard deviation; some silent ones among others do no harm."""
    for name, level in (("silent", 0.0), ("constant", 0.25)):
        (folder / f"{name}.wav").write_bytes(encoded(np.full(1600, level)))
    files = [(name, folder / f"{name}.wav") for name in ("silent", "bad", "constant", "a")]
    assert read_sounds(files, folder, SKIP).kept.tolist() == [True, False, True, True]
    with pytest.raises(UserError, match=r"^constant: silent, as is every other clip of its split$"):
        read_sounds(files[:3], folder, SKIP)
    assert not len(read_sounds(files[1:2], folder, SKIP).samples), "no clip at all is no silence"


def test_refusing_names_and_counts_in_one_line() -> None:
    with pytest.raises(UserError) as caught:
        refuse_bad([f"clip{i}: empty file" for i in range(5)], 20, REFUSE)
    message = str(caught.value)
    assert message.startswith("5 of 20 clips are bad: clip0: empty file; clip1")
    assert "clip4" not in message and "\n" not in message
