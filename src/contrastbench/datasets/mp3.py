"""MP3 files that are decoded to their end. Many begin with a frame that says how long they are: Info, or Xing.

libsndfile decodes as much as that frame says, and without one guesses from the first frame's bit rate: of a file of
variable bit rate, seconds are lost. A frame before the others that says more than there can be mends that.
"""

import re
from typing import NamedTuple

SYNC = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb][\x10-\xef]", re.DOTALL)  # layer III of MPEG 2.5, 2 and 1
HERTZ = {0xE2: (11025, 12000, 8000), 0xF2: (22050, 24000, 16000), 0xFA: (44100, 48000, 32000)}
MPEG_1 = 0xFA
KBIT = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
KBIT_MPEG_2 = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
HIGHEST = 14 << 4  # the highest bit rate: a frame with room for Info
SHORTEST = 24  # bytes of a frame
FRAMES, BYTES = 1, 2  # which numbers an Info frame holds: flags


class Frame(NamedTuple):
    """A frame's ``size`` in bytes, where in it Info stands, and what all frames of a file have in common."""

    size: int
    info: int
    kind: tuple[int, int]


def frame_at(content: bytes, position: int) -> Frame | None:
    """The frame that begins at ``position``; None where none does."""
    header = content[position : position + 4]
    if len(header) < 4 or not SYNC.match(header) or header[2] & 0x0C == 0x0C:
        return None
    version, rate, mono = header[1] & 0xFE, header[2] >> 2 & 3, header[3] >> 6 == 3
    first = version == MPEG_1
    kbit = (KBIT if first else KBIT_MPEG_2)[(header[2] >> 4) - 1]
    size = (144_000 if first else 72_000) * kbit // HERTZ[version][rate] + (header[2] >> 1 & 1)
    side = (17 if mono else 32) if first else (9 if mono else 17)
    return Frame(size, 4 + side, (version, rate))


def decodable(content: bytes) -> bytes | None:
    """``content`` as libsndfile decodes all of it; None where it is cut off.

    That is told of a file whose Info says more bytes than there are, and which ends within a frame or lacks a twentieth
    of the frames that Info says. One number alone proves nothing: encoders count differently.
    """
    start, first = _first_frame(content)
    if first is None:
        return content
    count, end = _frames(content, start, first)
    info = content[start + first.info : start + first.info + 16]
    if info[:4] not in (b"Info", b"Xing"):
        return content[:start] + _endless(content, start, first) + content[start:]
    numbers = [int.from_bytes(info[place : place + 4], "big") for place in (8, 12)]
    frames = numbers.pop(0) if info[7] & FRAMES else 0
    size = numbers.pop(0) if info[7] & BYTES else 0
    if size > len(content) - start and (end > len(content) or frames > 1.05 * count):
        return None
    if frames >= count - 1:  # the Info frame need not count itself
        return content
    return content[:start] + _endless(content, start, first) + content[start + first.size :]


def _first_frame(content: bytes) -> tuple[int, Frame | None]:
    """Where the first frame that another follows begins, behind ID3 notes."""
    start = 0
    while content[start : start + 3] == b"ID3":
        a, b, c, d = content[start + 6 : start + 10]
        start += 10 + (a << 21 | b << 14 | c << 7 | d)
    for match in SYNC.finditer(content, start):
        first = frame_at(content, match.start())
        following = first and frame_at(content, match.start() + first.size)
        if first and following and following.kind == first.kind:
            return match.start(), first
    return start, None


def _frames(content: bytes, start: int, first: Frame) -> tuple[int, int]:
    """How many frames follow each other without a gap, and where the last one ends."""
    count, position, frame = 0, start, frame_at(content, start)
    while frame and frame.kind == first.kind:
        count, position = count + 1, position + frame.size
        frame = frame_at(content, position)
    return count, position


def _endless(content: bytes, start: int, first: Frame) -> bytes:
    """An Info frame of the same kind as the first that says more frames than ``content`` can hold."""
    _, version, rate, channels = content[start : start + 4]
    header = bytes((0xFF, version | 1, HIGHEST | rate & 0x0C, channels))
    frame = frame_at(header, 0)
    assert frame is not None
    info = b"Info" + FRAMES.to_bytes(4, "big") + (len(content) // SHORTEST).to_bytes(4, "big")
    return (header.ljust(first.info, b"\0") + info).ljust(frame.size, b"\0")
