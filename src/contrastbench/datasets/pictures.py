"""Read picture files (JPEG, PNG, TIFF, ...) into arrays: one file, or folders of your own, one for each class.

A picture is what a viewer shows: turned as its EXIF notes say, white where it is transparent, 16 bits scaled to 8, the
first of several frames or pages. Values that no rule makes a picture are refused.
"""

import warnings
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.Image import Transpose

from contrastbench.datasets.base import Split
from contrastbench.datasets.found import Found, find_files
from contrastbench.errors import UserError

# What Pillow only writes, only names, gives to another program to draw, or takes from measurements.
NOT_READ = {"BUFR", "EPS", "FITS", "GRIB", "HDF5", "MPEG", "PALM", "PDF", "WMF"}
# EXIF's orientations. `ImageOps.exif_transpose` also writes the notes anew, which fails on damaged ones.
TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
# PNGs whose transparent colour Pillow leaves in the file's own depth, by how it unpacks them: the factor to 8 bits.
KEY_TO_8_BITS = {"L;2": 255 / 3, "L;4": 255 / 15, "RGB;16B": 1 / 256}
BITS, PHOTOMETRIC, ZERO_IS_WHITE = 258, 262, 0  # tags of TIFF, and what the second may say


def read_picture(file: Path | IO[bytes], size: int, shown: object, channels: int = 3) -> np.ndarray:
    """One picture as uint8 (size, size, channels): the centre square, scaled bilinearly where its size differs.

    ``channels`` is 3 (red, green, blue) or 1 (grey). Grey of more than 8 bits is scaled by its depth, so that 65535
    becomes 255; floating-point values by 255, where all lie in [0, 1]. A file that is no picture, is cut off, has more
    pixels than Pillow takes for harmless, or values of unknown range is a UserError that names ``shown``.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # none of Pillow's remarks names the file
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=_formats()) as image:
                picture = _square(_seen(image), size)
    except Exception as error:  # a damaged file makes decoders raise anything
        raise UserError(f"{shown}: cannot be read as a picture: {_reason(error)}") from None
    return np.asarray(picture if channels == 3 else picture.convert("L")).reshape(size, size, channels)


def find_pictures(folder: Path) -> Found:
    """The pictures in ``folder``, by the suffixes that Pillow knows, and what else is in it (``datasets/found.py``)."""
    return find_files(folder, _suffixes(), "a picture")


@cache
def _formats() -> list[str]:
    Image.init()
    return sorted(set(Image.OPEN) - NOT_READ)


@cache
def _suffixes() -> frozenset[str]:
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name not in NOT_READ)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is none, is damaged, or of a kind that Pillow does not know"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"it has more than {Image.MAX_IMAGE_PIXELS:,} pixels; scale it down"
    return getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__


def _seen(image: Any) -> Image.Image:
    """The opened ``image`` as a viewer shows it, in RGB."""
    rawmode = image.tile[0].args if image.tile else None  # gone once it is loaded
    image.load()
    key = image.info.get("transparency")  # a colour that stands for nothing
    if image.format == "PNG" and key is not None and rawmode in KEY_TO_8_BITS:
        image.info["transparency"] = key = _scaled(key, KEY_TO_8_BITS[rawmode])
    picture = image
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image)
        picture = Image.fromarray(_eight_bits(values, image))
        if key is not None:
            picture.putalpha(Image.fromarray((values != key).astype(np.uint8) * 255))
    if picture.has_transparency_data:
        paper = Image.new("RGBA", picture.size, "white")
        paper.alpha_composite(picture.convert("RGBA"))
        picture = paper
    turn = TURNS.get(_orientation(image))
    return (picture if turn is None else picture.transpose(turn)).convert("RGB")


def _scaled(key: int | tuple[int, ...], factor: float) -> int | tuple[int, ...]:
    return tuple(int(part * factor) for part in key) if isinstance(key, tuple) else int(key * factor)


def _eight_bits(values: np.ndarray, image: Any) -> np.ndarray:
    """Grey ``values`` (height, width) of the decoded ``image``, of more than 8 bits, as uint8."""
    tags = getattr(image, "tag_v2", {})
    if image.mode == "F":
        if not (values.min() >= 0 and values.max() <= 1):  # nor where there is a NaN
            raise ValueError("it holds floating-point values beyond [0, 1]; save it with 8 or 16 bits")
        top = 1
    elif image.mode == "I" and image.format != "PPM":
        raise ValueError("it holds integers of 32 bits or with a sign, of unknown range; save it with 8 or 16 bits")
    else:
        top = 4095 if tags.get(BITS) == (12,) else 65535
    grey = np.round(values * np.float32(255 / top)).astype(np.uint8)
    return 255 - grey if tags.get(PHOTOMETRIC) == ZERO_IS_WHITE else grey


def _orientation(image: Any) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged notes say nothing against the picture
        return 1


def _square(picture: Image.Image, size: int) -> Image.Image:
    if picture.size == (size, size):
        return picture
    width, height = picture.size
    edge = min(width, height)
    left, top = (width - edge) // 2, (height - edge) // 2
    return picture.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + edge, top + edge))


def read_folders(raw: Path, classes: tuple[str, ...], size: int) -> dict[str, Split]:
    """Splits of ``raw/SPLIT/CLASS/*``, for SPLIT train and test, and validation where there is one.

    Files are read in alphabetical order; what is not read is named in each split's ``skipped``. A missing or empty
    folder, or a class not in ``classes``, is a UserError.
    """
    names = ["train", "test"] + (["validation"] if (raw / "validation").is_dir() else [])
    return {split: _read_split(raw / split, classes, size) for split in names}


def _read_split(folder: Path, classes: tuple[str, ...], size: int) -> Split:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected {folder}/CLASS/PICTURE")
    unknown = sorted({path.name for path in folder.iterdir() if path.is_dir()} - set(classes))
    if unknown:
        raise UserError(f"{folder / unknown[0]}: not one of the adapter's classes: {', '.join(classes)}")
    items, others = [], []
    for label, name in enumerate(classes):
        found = find_pictures(folder / name)
        if not found.paths:
            raise UserError(f"{folder / name}: no picture in it")
        items += [(path, label) for path in found.paths]
        others += found.others
    x = np.stack([read_picture(path, size, path) for path, _ in items])
    return Split(x, np.array([label for _, label in items]), skipped=tuple(others))
