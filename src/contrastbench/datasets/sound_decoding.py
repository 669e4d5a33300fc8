"""From the bytes of a sound file to its samples, whatever its header says: libsndfile reads, in blocks, to the end."""

import io
import re

import numpy as np
import soundfile

from contrastbench.datasets.mp3 import decodable
from contrastbench.datasets.sound_headers import finished_ogg, finished_wav

AT_ONCE = 1 << 18  # values of all channels: what is decoded at a time
MOST = 1 << 28  # values in a file: 1 GiB, 50 minutes of stereo at 44.1 kHz
STREAMED = 0x7FF00000  # bytes; from here on, sizes are what programs write that do not know how much will come
SLOPPY = 64  # bytes; some programs count the header among the samples
# libsndfile's log of a file that ends before its samples do: WAV and CAF, AIFF, AU, W64.
SIZES = re.compile(r"^ *(?:data|SSND|Data Size|riff) *: (\d+) \(should be (\d+)\)", re.MULTILINE)


class BadClip(Exception):
    """Why a sound file cannot be used."""


class _Forward(soundfile.SoundFile):
    """A file read from its beginning to its end: soundfile seeks after each block where it believes that it can."""

    def seekable(self) -> bool:
        return False


class _Content(io.BytesIO):
    """A file's bytes, in which a damaged header may ask libsndfile to seek where there can be nothing."""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        try:
            return super().seek(offset, whence)
        except (OverflowError, ValueError):
            return self.tell()


def samples_of(content: bytes) -> tuple[np.ndarray, int]:
    """Samples float32 (N, channels) and their rate in Hz; a file that cannot be read to its end is a BadClip."""
    if not content:
        raise BadClip("empty file")
    try:
        return _decoded(_whole(content))
    except BadClip:
        raise
    except Exception as error:  # a damaged file makes decoders raise anything
        reason = str(error).split(":")[-1].strip(" .") or type(error).__name__
        raise BadClip(f"cannot be decoded ({reason}); convert it to FLAC or WAV") from None


def _whole(content: bytes) -> bytes:
    """``content`` with what libsndfile needs to decode it to its end; BadClip where it is cut off."""
    whole: bytes | None = content
    if content[:4] in (b"RIFF", b"RF64"):
        whole = finished_wav(content)
    elif content[:4] == b"OggS":
        whole = finished_ogg(content)
    else:
        with _Forward(_Content(content)) as file:
            if file.format == "MP3":
                whole = decodable(content)
    if whole is None:
        raise BadClip("truncated")
    return whole


def _decoded(content: bytes) -> tuple[np.ndarray, int]:
    blocks, values = [], 0
    with _Forward(_Content(content)) as file:
        at_once = max(1, AT_ONCE // file.channels)
        while len(block := file.read(at_once, dtype="float32", always_2d=True)):
            blocks.append(block)
            values += block.size
            if values > MOST:
                raise BadClip(f"more than {MOST:,} samples; cut it into shorter files")
        sizes = [(int(told), int(there)) for told, there in SIZES.findall(file.extra_info)]
        lacking = file.format != "MP3" and values < file.frames * file.channels < STREAMED
        rate = file.samplerate
    if lacking or any(there + SLOPPY < told < STREAMED for told, there in sizes):
        raise BadClip("truncated")
    if not blocks:
        raise BadClip("no samples")
    return np.concatenate(blocks), rate
