"""Whole files are decoded to their end, whatever their headers say; what is cut off, or claims too much, is told."""

import io
import struct
from collections.abc import Iterator

import numpy as np
import pytest
import soundfile

from contrastbench.datasets import sound_decoding
from contrastbench.datasets.mp3 import decodable
from contrastbench.datasets.sound_decoding import samples_of
from contrastbench.datasets.sound_files import BadClip, decode

RATE = 16_000
SECONDS = 2
NOISE = np.random.default_rng(0).uniform(-0.3, 0.3, SECONDS * RATE)
SAMPLES = np.round(NOISE * 32768).astype(np.int16)
UNKNOWN = 0xFFFFFFFF
LAME_DELAY = 576  # samples


def encoded(wave: np.ndarray = SAMPLES, rate: int = RATE, form: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format=form, subtype=subtype)
    return buffer.getvalue()


def put(content: bytes, position: int, *values: int, form: str) -> bytes:
    new = struct.pack(form, *values)
    return content[:position] + new + content[position + len(new) :]


# ---- headers whose writer did not know how much would come


def streamed() -> Iterator[tuple[str, bytes]]:
    """Lossless files of SAMPLES as programs leave them that write to a pipe."""
    wav, rf64 = encoded(), encoded(form="RF64")
    data = wav.index(b"data") + 4
    for riff, size in (
        (UNKNOWN, UNKNOWN),
        (0x7FFFFFFF, 0x7FFFFFFF - 36),
        (0x7FFFF024, 0x7FFFF000),
        (0x80000024, 0x80000000),
        (0, 0),
        (36, 0),
        (len(wav) - 8, 0),
        (UNKNOWN, 0),
    ):
        yield f"wav {riff:x} {size:x}", put(put(wav, 4, riff, form="<I"), data, size, form="<I")
    long = rf64.index(b"ds64") + 8
    for size in (0, 2**63 - 1, 2**64 - 1):
        yield f"rf64 {size:x}", put(rf64, long, size, size, size, form="<QQQ")
    yield "rf64", rf64
    aiff, au, flac = encoded(form="AIFF"), encoded(form="AU"), encoded(form="FLAC")
    for size in (0, 0x7FFFFFFF, UNKNOWN):
        yield f"aiff {size:x}", put(put(aiff, 4, size, form=">I"), aiff.index(b"SSND") + 4, size, form=">I")
    yield "au", put(au, 8, UNKNOWN, form=">I")
    yield "flac", put(flac, 21, flac[21] & 0xF0, 0, form=">BI")  # STREAMINFO: 36 bits of total samples, 0 = unknown
    yield "wav that counts its header", put(wav, data, len(wav), form="<I")
    yield "with nonsense behind", wav + b"LIST\xff\xff\xff\x7fetc."


STREAMED = dict(streamed())


@pytest.mark.parametrize("kind", STREAMED)
def test_streamed_files_are_read_to_their_end(kind):
    assert np.array_equal(decode(STREAMED[kind]), SAMPLES)


def test_no_samples_before_another_chunk_are_none():
    wav = encoded(np.zeros(0))
    with pytest.raises(BadClip, match="no samples"):
        decode(wav + b"LIST" + struct.pack("<I", 4) + b"INFO")


def crc(page: bytes) -> int:
    """RFC 3533: polynomial 0x04c11db7, bit by bit."""
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & UNKNOWN
    return value


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_without_an_end_is_read(subtype):
    ogg = encoded(form="OGG", subtype=subtype)
    last = ogg.rindex(b"OggS")
    open_page = put(put(ogg[last:], 5, ogg[last + 5] & ~4, form="B"), 22, 0, form="<I")
    open_page = put(open_page, 22, crc(open_page), form="<I")
    whole, rate = samples_of(ogg)
    found, _ = samples_of(ogg[:last] + open_page)
    assert len(whole) == SECONDS * RATE == SECONDS * rate and np.array_equal(found, whole)


# ---- MP3


def mp3(wave: np.ndarray, rate: int, mode: str) -> bytes:
    buffer = io.BytesIO()
    channels = 1 if wave.ndim == 1 else wave.shape[1]
    with soundfile.SoundFile(buffer, "w", rate, channels, format="MP3", bitrate_mode=mode) as file:
        file.write(wave)
    return buffer.getvalue()


def without_info(content: bytes) -> bytes:
    """An MP3 as encoders write it that know no Info frame: the second frame begins with the first one's header."""
    second = content.index(content[:2], 4)
    assert b"Info" in content[:second] or b"Xing" in content[:second]
    return content[second:]


def quiet_then_loud(rate: int) -> np.ndarray:
    """Six seconds of which the first frames need fewer bits than the others."""
    wave = np.random.default_rng(0).normal(size=6 * rate) * 0.1
    wave[: 2 * rate] = 0
    return wave


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("rate", [8000, 22_050, 44_100])
def test_an_mp3_without_info_frame_has_its_length(rate, mode):
    """It lacks what Info also says: that the encoder, LAME, puts 576 samples before the first."""
    full = mp3(quiet_then_loud(rate), rate, mode)
    (expected, _), (found, _) = samples_of(full), samples_of(without_info(full))
    assert len(expected) == 6 * rate
    assert np.abs(found[LAME_DELAY : LAME_DELAY + 6 * rate] - expected)[1152:].max() < 1e-5
    assert len(found) < 6 * rate + 3 * 1152


def told(content: bytes, *, frames: int = 0, size: int = 0) -> bytes:
    """An MP3 whose Info frame says so many frames, and bytes, more."""
    place = max(content.find(b"Info"), content.find(b"Xing")) + 8
    numbers = struct.unpack(">II", content[place : place + 8])
    return put(content, place, numbers[0] + frames, numbers[1] + size, form=">II")


def test_an_mp3_is_read_whatever_number_of_frames_it_says():
    full = mp3(quiet_then_loud(RATE), RATE, "CONSTANT")
    assert decodable(full) is full, "a file that is right is decoded as it is"
    for more in (1, 3, 1000):
        assert len(samples_of(told(full, frames=more))[0]) - 6 * RATE in range(2 * 1152)
    for fewer in (-5, -100):
        assert len(samples_of(told(full, frames=fewer))[0]) - 6 * RATE in range(3 * 1152)
    assert len(samples_of(told(full, size=50_000))[0]) == 6 * RATE
    bare = without_info(full)
    assert len(samples_of(full + bare)[0]) > 11.9 * RATE  # one behind the other


def test_notes_and_noise_around_an_mp3_do_not_matter():
    bare = without_info(mp3(quiet_then_loud(RATE), RATE, "VARIABLE"))
    notes = b"ID3\4\0\0\0\0\2\0" + b"\xff\xfb\x90\0Info".ljust(256, b"\0")
    expected, _ = samples_of(bare)
    noise = b"\0" * 50 + b"\xff\xfb\x90\0" + b"\0" * 50  # what looks like a frame, but none follows
    assert np.array_equal(samples_of(notes + noise + bare)[0], expected)
    for content in (notes + bare, notes + notes + bare, notes + b"\0" * 100 + bare, bare + b"TAG".ljust(128, b" ")):
        assert np.array_equal(samples_of(content)[0], expected)


def test_notes_before_a_flac_do_not_make_it_an_mp3():
    """Even where a block of its notes holds frames of one, behind STREAMINFO, which is 42 bytes with the mark."""
    flac, frames = encoded(form="FLAC"), without_info(mp3(NOISE, RATE, "CONSTANT"))[:2000]
    padded = flac[:42] + b"\1" + len(frames).to_bytes(3, "big") + frames + flac[42:]
    assert np.array_equal(decode(b"ID3\4\0\0\0\0\0\x10".ljust(26, b"\0") + padded), SAMPLES)


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_an_mp3_that_is_cut_off_is_told(mode):
    full = mp3(quiet_then_loud(RATE), RATE, mode)
    for part in (0.3, 0.5, 0.9, 0.97):
        with pytest.raises(BadClip, match="truncated"):
            samples_of(full[: int(part * len(full))])
    bare = without_info(full)
    assert 0.4 < len(samples_of(bare[: len(bare) // 2])[0]) / (6 * RATE) < 1, "it says no length: nothing can be told"


# ---- what is bad


@pytest.mark.parametrize("form", ["WAV", "RF64", "W64", "AIFF", "AU", "FLAC", "CAF", "OGG", "MP3"])
def test_half_a_file_is_told(form):
    whole = encoded(form=form)
    assert len(samples_of(whole)[0]) == SECONDS * RATE
    with pytest.raises(BadClip, match=r"truncated|cannot be decoded .*convert it to FLAC or WAV"):
        samples_of(whole[: len(whole) // 2])


def test_a_flac_that_lacks_samples_is_told():
    flac = encoded(form="FLAC")
    assert flac[22:26] == struct.pack(">I", SECONDS * RATE)
    with pytest.raises(BadClip, match="truncated"):
        samples_of(put(flac, 22, SECONDS * RATE + 1000, form=">I"))


def lying() -> dict[str, bytes]:
    """Headers that claim far more than there is."""
    wav, flac = encoded(), encoded(form="FLAC")
    return {
        "samples in flac": put(flac, 21, flac[21] | 15, UNKNOWN, form=">BI"),
        "channels in wav": put(wav, 22, 1024, RATE, 2048 * RATE, 2048, form="<HIIH"),
        "chunk": put(wav, 16, UNKNOWN, form="<I"),
        "rf64": put(encoded(form="RF64"), 20, 1 << 62, 1 << 62, 1 << 62, form="<QQQ"),
    }


@pytest.mark.parametrize("kind", lying())
def test_nothing_is_allocated_that_a_header_claims(kind, monkeypatch):
    asked = []
    empty = np.empty
    monkeypatch.setattr(np, "empty", lambda shape, *rest, **given: asked.append(shape) or empty(shape, *rest, **given))
    try:
        samples_of(lying()[kind])
    except BadClip as error:
        assert "\n" not in str(error)
    assert max((int(np.prod(shape)) for shape in asked), default=0) <= sound_decoding.AT_ONCE


def test_more_than_fits_into_memory_is_one_line(monkeypatch):
    monkeypatch.setattr(sound_decoding, "MOST", 20_000)
    with pytest.raises(BadClip, match="more than 20,000 samples; cut it into shorter files"):
        samples_of(encoded())
    for error in (MemoryError(), ValueError("array is too big"), OverflowError("long")):
        monkeypatch.setattr(sound_decoding, "_decoded", lambda _, error=error: (_ for _ in ()).throw(error))
        with pytest.raises(BadClip, match=r"cannot be decoded \((MemoryError|array is too big|long)\)"):
            samples_of(encoded())


def test_a_seek_to_nowhere_leaves_no_traceback(capfd):
    """libsndfile asks for it through a callback, whose exceptions go to stderr."""
    with pytest.raises(BadClip):
        samples_of(put(encoded(form="CAF"), encoded(form="CAF").index(b"data") + 4, 2**63 - 1, form=">q"))
    content = sound_decoding._Content(b"abc")
    assert content.seek(2) == 2 and content.seek(2**70) == 2 and content.seek(-5) == 2
    assert capfd.readouterr().err == ""
