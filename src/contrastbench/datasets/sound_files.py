"""Decode sound files into the stored form: mono, 16 kHz, int16. A bad clip is reported, never silently zero.

``sound_decoding`` reads the samples. scipy's polyphase filter resamples: it needs no torch, and from
44.1 kHz it keeps 97 % of a 7 kHz tone where torchaudio's default kernel keeps 81 %, and lets 3 % of a 9 kHz tone
through against 14 % (``tests/test_sound_files.py``).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from contrastbench.datasets.base import SAMPLE_RATE
from contrastbench.datasets.sound_decoding import BadClip, samples_of
from contrastbench.errors import UserError
from contrastbench.params.data import DataParams

SHORTEST = 400  # samples at 16 kHz: one window of the front end, 25 ms
RATES = (1_000, 384_000)  # Hz; a header with another rate is wrong
LOUDEST = 4.0  # full scale is 1; what codecs overshoot is clipped, and Opus reaches 2
CANCELLED = 0.01  # share of the channels' power that is left in their average where they are in antiphase
LARGEST = 1 << 31  # bytes of a file
SHOWN = 3  # bad clips named in a message


def decode(content: bytes, stereo: str = "average", rates: tuple[int, ...] = ()) -> np.ndarray:
    """The clip in a file's ``content``: int16 (samples,) at 16 kHz, full scale 32768.

    ``rates`` are the sample rates in which the data set is published (empty: any). Raises BadClip.
    """
    wave, rate = samples_of(content)
    if rate not in rates and (rates or not RATES[0] <= rate <= RATES[1]):
        wanted = " or ".join(map(str, rates)) or f"{RATES[0]} to {RATES[1]}"
        raise BadClip(f"sample rate {rate} Hz, expected {wanted}")
    if not np.isfinite(wave).all():
        raise BadClip("NaN or infinite samples")
    peak = max(wave.max(), -wave.min())
    if peak > LOUDEST:
        raise BadClip(f"samples up to {peak:.6g}, where full scale is 1")
    if wave.shape[1] > 1 and stereo == "refuse":
        raise BadClip(f"{wave.shape[1]} channels")
    mono = resample(_average(wave), rate)
    if len(mono) < SHORTEST:
        raise BadClip(f"{len(wave)} sample{'' if len(wave) == 1 else 's'}, shorter than 25 ms")
    return to_int16(mono)


def _average(wave: np.ndarray) -> np.ndarray:
    """The average of the channels of ``wave`` (samples, channels); the first one where they cancel each other."""
    average = wave.mean(axis=1)
    if np.square(average).mean() < CANCELLED * np.square(wave).mean():
        return wave[:, 0]
    return average


def resample(wave: np.ndarray, rate: int) -> np.ndarray:
    """``wave`` (samples,) from ``rate`` Hz to 16 kHz: float32 (ceil(samples * 16000 / rate),)."""
    if rate == SAMPLE_RATE:
        return wave
    from scipy.signal import resample_poly

    common = math.gcd(rate, SAMPLE_RATE)
    up, down = SAMPLE_RATE // common, rate // common
    return resample_poly(wave, up, down, window=_low_pass(up, down)).astype(np.float32)


@cache
def _low_pass(up: int, down: int) -> np.ndarray:
    """The filter that resample_poly designs by default; cached, as designing it takes longer than applying it."""
    from scipy.signal import firwin

    most = max(up, down)
    return firwin(20 * most + 1, 1 / most, window=("kaiser", 5.0))


def to_int16(wave: np.ndarray) -> np.ndarray:
    """Samples in [-1, 1] as int16, full scale 32768; values beyond it are clipped."""
    return np.clip(np.round(wave * 32768), -32768, 32767).astype(np.int16)


@dataclass(frozen=True)
class Sounds:
    """Decoded clips, concatenated, and what was wrong with the bad ones.

    samples  int16, of all kept clips
    offsets  (kept + 1,) positions in ``samples``
    kept     bool, one entry per file
    bad      "NAME: reason" of the others
    """

    samples: np.ndarray
    offsets: np.ndarray
    kept: np.ndarray
    bad: list[str]


def read_sounds(
    files: Iterable[tuple[str, Path]], scratch: Path, params: DataParams, rates: tuple[int, ...] = ()
) -> Sounds:
    """Decode ``files`` (name for messages, path) in order.

    The samples go through a temporary file in the folder ``scratch``, so that a data set may be larger than memory.
    Clips of which none holds a sound are a UserError: their spectrograms have no standard deviation.
    """
    lengths, kept, bad, silent, heard = [0], [], [], "", False
    with TemporaryFile(dir=scratch) as spool:
        for name, path in files:
            try:
                clip = decode(_content(path), params.stereo, rates)
            except (BadClip, OSError) as error:
                bad.append(f"{name}: {getattr(error, 'strerror', None) or error}")
                kept.append(False)
                continue
            if clip.min() < clip.max():
                heard = True
            else:
                silent = name
            spool.write(clip.data)
            lengths.append(len(clip))
            kept.append(True)
        if silent and not heard:
            raise UserError(f"{silent}: silent, as is every other clip of its split")
        spool.flush()
        total = sum(lengths)
        samples = np.memmap(spool, np.int16, "r", shape=(total,)) if total else np.zeros(0, np.int16)
    return Sounds(samples, np.cumsum(lengths, dtype=np.int64), np.array(kept, dtype=bool), bad)


def _content(path: Path) -> bytes:
    if path.stat().st_size > LARGEST:
        raise BadClip(f"larger than {LARGEST >> 30} GiB; cut it into shorter files")
    return path.read_bytes()


def refuse_bad(bad: list[str], count: int, params: DataParams) -> None:
    """Raise a UserError that counts the ``bad`` of ``count`` clips and names some, unless the parameters skip them."""
    if bad and params.on_bad_clip == "refuse":
        shown = "; ".join(bad[:SHOWN]) + ("; ..." if len(bad) > SHOWN else "")
        raise UserError(f"{len(bad)} of {count} clips are bad: {shown} (data.on_bad_clip: skip leaves them out)")
