"""Decode sound files into the stored form: mono, 16 kHz, int16. A bad clip is reported, never silently zero.

soundfile (libsndfile) reads WAV, FLAC, OGG and Opus. scipy's polyphase filter resamples: it needs no torch, and from
44.1 kHz it keeps 97 % of a 7 kHz tone where torchaudio's default kernel keeps 81 %, and lets 3 % of a 9 kHz tone
through against 14 % (``tests/test_sound_files.py``).
"""

import io
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from contrastbench.datasets.base import SAMPLE_RATE
from contrastbench.errors import UserError
from contrastbench.params.data import DataParams

SHORTEST = 400  # samples at 16 kHz: one window of the front end, 25 ms
RATES = (1_000, 384_000)  # Hz; a header with another rate is wrong
SHOWN = 3  # bad clips named in a message
DATA_SIZE = re.compile(r"^data : (\d+) \(should be (\d+)\)", re.MULTILINE)  # libsndfile's log of a truncated WAV


class BadClip(Exception):
    """Why a sound file cannot be used."""


def decode(content: bytes, stereo: str = "average", rates: tuple[int, ...] = ()) -> np.ndarray:
    """The clip in a file's ``content``: int16 (samples,) at 16 kHz, full scale 32768.

    ``rates`` are the sample rates in which the data set is published (empty: any). Raises BadClip.
    """
    wave, rate = _read(content)
    if rate not in rates and (rates or not RATES[0] <= rate <= RATES[1]):
        wanted = " or ".join(map(str, rates)) or f"{RATES[0]} to {RATES[1]}"
        raise BadClip(f"sample rate {rate} Hz, expected {wanted}")
    if not np.isfinite(wave).all():
        raise BadClip("NaN or infinite samples")
    if wave.shape[1] > 1 and stereo == "refuse":
        raise BadClip(f"{wave.shape[1]} channels")
    mono = resample(wave.mean(axis=1), rate)
    if len(mono) < SHORTEST:
        raise BadClip(f"{len(wave)} sample{'' if len(wave) == 1 else 's'}, shorter than 25 ms")
    return to_int16(mono)


def _read(content: bytes) -> tuple[np.ndarray, int]:
    """Samples float32 (N, channels) and their rate in Hz; a file that cannot be read to its end is a BadClip."""
    import soundfile

    if not content:
        raise BadClip("empty file")
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            wave = file.read(dtype="float32", always_2d=True)
            frames, rate, log = file.frames, file.samplerate, file.extra_info
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise BadClip(f"cannot be decoded ({str(error).split(':')[-1].strip(' .')})") from None
    sizes = DATA_SIZE.search(log)
    if len(wave) != frames or (sizes and int(sizes[1]) > int(sizes[2])) or _lacks_last_page(content):
        raise BadClip("truncated")
    if len(wave) == 0:
        raise BadClip("no samples")
    return wave, rate


def _lacks_last_page(content: bytes) -> bool:
    """Whether an Ogg file's last page is not marked as the stream's end (RFC 3533, header_type_flag 4)."""
    if content[:4] != b"OggS":
        return False
    last = content.rfind(b"OggS")
    return last + 5 >= len(content) or not content[last + 5] & 4


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
    """
    lengths, kept, bad = [0], [], []
    with TemporaryFile(dir=scratch) as spool:
        for name, path in files:
            try:
                clip = decode(path.read_bytes(), params.stereo, rates)
            except (BadClip, OSError) as error:
                bad.append(f"{name}: {getattr(error, 'strerror', None) or error}")
                kept.append(False)
                continue
            spool.write(clip.data)
            lengths.append(len(clip))
            kept.append(True)
        spool.flush()
        total = sum(lengths)
        samples = np.memmap(spool, np.int16, "r", shape=(total,)) if total else np.zeros(0, np.int16)
    return Sounds(samples, np.cumsum(lengths, dtype=np.int64), np.array(kept, dtype=bool), bad)


def refuse_bad(bad: list[str], count: int, params: DataParams) -> None:
    """Raise a UserError that counts the ``bad`` of ``count`` clips and names some, unless the parameters skip them."""
    if bad and params.on_bad_clip == "refuse":
        shown = "; ".join(bad[:SHOWN]) + ("; ..." if len(bad) > SHOWN else "")
        raise UserError(f"{len(bad)} of {count} clips are bad: {shown} (data.on_bad_clip: skip leaves them out)")
