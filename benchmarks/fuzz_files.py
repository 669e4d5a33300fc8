"""Do damaged picture and sound files end in an array or in one line? Counts, the slowest file, the memory it took.

    python benchmarks/fuzz_files.py [--files 3000] [--seed 0] [--tiny]

Half of the files are read as pictures, half as sounds. They are small healthy ones in every format that can be written
here, spoilt at random: cut off, with bits flipped, with sizes that lie, with the beginning of another file. Whatever
a reader raises but its own error ends the run with a traceback, and so does a file that takes a minute.
"""

import argparse
import faulthandler
import io
import resource
import time
from collections import Counter
from collections.abc import Callable

import numpy as np
import soundfile
from PIL import Image

from contrastbench.datasets.pictures import read_picture
from contrastbench.datasets.sound_files import BadClip, decode
from contrastbench.errors import UserError

TOO_LONG_S = 60
HEAD = 256  # bytes in which most headers lie
LIES = (0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFF0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
COLOURED = (
    *("AVIF", "BMP", "DDS", "ICNS", "ICO", "IM", "JPEG", "JPEG2000"),
    *("PCX", "PNG", "PPM", "QOI", "SGI", "TGA", "TIFF", "WEBP"),
)
PICTURES = [
    *((form, "RGB") for form in COLOURED),
    *((form, "RGBA") for form in ("PNG", "TIFF", "WEBP", "TGA", "JPEG2000")),
    *((form, "I;16") for form in ("PNG", "TIFF", "JPEG2000", "PPM")),
    *(("TIFF", mode) for mode in ("1", "L", "I", "F", "CMYK", "LAB")),
    *(("PNG", mode) for mode in ("1", "L", "LA", "P")),
    *(("GIF", "P"), ("XBM", "1"), ("JPEG", "CMYK"), ("MSP", "1")),
]
SOUNDS = [
    *(("WAV", subtype) for subtype in ("PCM_16", "PCM_24", "PCM_U8", "FLOAT", "DOUBLE", "IMA_ADPCM", "ULAW", "GSM610")),
    *((form, "PCM_16") for form in ("WAVEX", "RF64", "W64", "AIFF", "AU", "FLAC", "CAF")),
    *(("CAF", "ALAC_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("FLAC", "PCM_24")),
]


def picture(form: str, mode: str, rng: np.random.Generator) -> bytes:
    """A small healthy picture."""
    colours = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    stream = io.BytesIO()
    (colours.convert("L") if mode in ("I;16", "I", "F") else colours).convert(mode).save(stream, form)
    return stream.getvalue()


def sound(form: str, subtype: str, rng: np.random.Generator) -> bytes:
    """A quarter of a second of healthy noise."""
    stream = io.BytesIO()
    channels = 1 if subtype == "GSM610" else int(rng.integers(1, 3))
    soundfile.write(stream, rng.uniform(-0.5, 0.5, (4000, channels)), 16_000, format=form, subtype=subtype)
    return stream.getvalue()


def cut(content: bytes, _: bytes, rng: np.random.Generator) -> bytes:
    """The beginning of a file."""
    return content[: rng.integers(len(content))]


def flipped(content: bytes, _: bytes, rng: np.random.Generator) -> bytes:
    """A file with some bits turned over, in its head or anywhere."""
    spoilt = bytearray(content)
    end = min(HEAD, len(content)) if rng.random() < 0.5 else len(content)
    for position in rng.integers(0, end, rng.integers(1, 20)):
        spoilt[position] ^= 1 << rng.integers(8)
    return bytes(spoilt)


def lying(content: bytes, _: bytes, rng: np.random.Generator) -> bytes:
    """A file with a few words of its head replaced by sizes that are wrong."""
    spoilt = bytearray(content)
    for _lie in range(rng.integers(1, 4)):
        position, width = rng.integers(0, min(HEAD, len(content))), (2, 4, 8)[rng.integers(3)]
        word = LIES[rng.integers(len(LIES))] & (256**width - 1)
        spoilt[position : position + width] = word.to_bytes(width, ("little", "big")[rng.integers(2)])
    return bytes(spoilt)


def spliced(content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """The beginning of one file before the rest of another."""
    return other[: rng.integers(1, HEAD)] + content[rng.integers(0, HEAD) :]


def swapped(_: bytes, other: bytes, __: np.random.Generator) -> bytes:
    """Another kind of file than the reader is for, or than its suffix says."""
    return other


SPOILERS = (cut, flipped, lying, spliced, swapped)


def is_picture(content: bytes) -> bool:
    """Whether ``content`` is read as a picture; one line is the only other end."""
    try:
        return read_picture(io.BytesIO(content), 16, "the picture").shape == (16, 16, 3)
    except UserError as error:
        assert "\n" not in str(error) and str(error).startswith("the picture: ")
        return False


def is_sound(content: bytes) -> bool:
    """Whether ``content`` is read as a sound; one line is the only other end."""
    try:
        return decode(content).dtype == np.int16
    except BadClip as error:
        assert "\n" not in str(error) and str(error)
        return False


def fuzz(reads: Callable[[bytes], bool], healthy: list[bytes], others: list[bytes], count: int, seed: int) -> Counter:
    """How many of ``count`` spoilt files were read and refused, by what was done to them; and the slowest, in ms.

    Each is one of ``healthy`` that is spoilt, alone or with another, which is of the ``others`` now and then.
    """
    rng = np.random.default_rng(seed)
    counts: Counter[str] = Counter()
    for number in range(count):
        spoil = SPOILERS[number % len(SPOILERS)]
        content = healthy[rng.integers(len(healthy))]
        pool = others if spoil is swapped or rng.random() < 0.2 else healthy
        start = time.perf_counter()
        faulthandler.dump_traceback_later(TOO_LONG_S, exit=True)
        outcome = "read" if reads(spoil(content, pool[rng.integers(len(pool))], rng)) else "refused"
        faulthandler.cancel_dump_traceback_later()
        counts[f"{spoil.__name__} {outcome}"] += 1
        counts["slowest, ms"] = max(counts["slowest, ms"], round(1000 * (time.perf_counter() - start)))
    return counts


def main() -> None:
    """Spoil and read as many files as the options say, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tiny", action="store_true", help="100 files")
    options = parser.parse_args()
    count = (100 if options.tiny else options.files) // 2
    rng = np.random.default_rng(options.seed)
    pictures = [picture(*kind, rng) for kind in PICTURES]
    sounds = [sound(*kind, rng) for kind in SOUNDS]
    for name, counts in (
        ("pictures", fuzz(is_picture, pictures, sounds, count, options.seed)),
        ("sounds", fuzz(is_sound, sounds, pictures, count, options.seed)),
    ):
        totals = [sum(n for key, n in counts.items() if key.endswith(end)) for end in ("read", "refused")]
        print(f"{name}: {totals[0]} read, {totals[1]} refused")
        for key in sorted(counts):
            print(f"  {key}: {counts[key]}")
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
