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
NOISE = 1 << 20  # bytes before the first frame, at most
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
    """An MP3's ``content`` as libsndfile decodes all of it, without what stands before the first frame; else as it is.

    None where it is cut off: Info says more bytes than there are, and the file ends within a frame or lacks a twentieth
    of the frames that Info says. One number alone proves nothing: encoders count differently.
    """
    start, first = _first_frame(content)
    if first is None:
        return content
    content = content[start:]
    count, end = _frames(content, first)
    info = content[first.info : first.info + 16]
    if info[:4] not in (b"Info", b"Xing"):
        return _endless(content, first) + content
    numbers = [int.from_bytes(info[place : place + 4], "big") for place in (8, 12)]
    frames = numbers.pop(0) if info[7] & FRAMES else 0
    size = numbers.pop(0) if info[7] & BYTES else 0
    if size > len(content) and (end > len(content) or frames > 1.05 * count):
        return None
    if frames >= count - 1:  # the Info frame need not count itself
        return content
    return _endless(content, first) + content[first.size :]


def _first_frame(content: bytes) -> tuple[int, Frame | None]:
    """Where the first frame that another follows begins, behind ID3 notes; no frame where it is no MP3."""
    start = 0
    if content[:3] == b"ID3":
        for byte in content[6:10]:
            start = start << 7 | byte & 0x7F
        start += 10
    if content[start : start + 4] == b"fLaC" or not (start or SYNC.match(content)):
        return start, None
    for match in SYNC.finditer(content, start, start + NOISE):
        first = frame_at(content, match.start())
        following = first and frame_at(content, match.start() + first.size)
        if first and following and following.kind == first.kind:
            return match.start(), first
    return start, None


def _frames(content: bytes, first: Frame) -> tuple[int, int]:
    """How many frames follow each other without a gap, and where the last one ends."""
    count, position, frame = 0, 0, frame_at(content, 0)
    while frame and frame.kind == first.kind:
        count, position = count + 1, position + frame.size
        frame = frame_at(content, position)
    return count, position


def _endless(content: bytes, first: Frame) -> bytes:
    """An Info frame of the same kind as the first that says more frames than ``content`` can hold."""
    _, version, rate, channels = content[:4]
    header = bytes((0xFF, version | 1, HIGHEST | rate & 0x0C, channels))
    frame = frame_at(header, 0)
    assert frame is not None
    info = b"Info" + FRAMES.to_bytes(4, "big") + (len(content) // SHORTEST).to_bytes(4, "big")
    return (header.ljust(first.info, b"\0") + info).ljust(frame.size, b"\0")
