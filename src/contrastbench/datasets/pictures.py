"""Read picture files (JPEG, PNG, ...) into arrays: one file, or a folder of your own with one sub-folder per class."""

from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, UnidentifiedImageError

from contrastbench.datasets.base import Split
from contrastbench.errors import UserError


def read_picture(file: Path | IO[bytes], size: int, shown: object) -> np.ndarray:
    """One picture as uint8 (size, size, 3): the centre square, scaled bilinearly where its size differs.

    A file that is not a picture is a UserError that names ``shown``.
    """
    try:
        with Image.open(file) as image:
            picture = image.convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise UserError(f"{shown}: cannot be read as a picture: {error}") from None
    if picture.size != (size, size):
        width, height = picture.size
        edge = min(width, height)
        left, top = (width - edge) // 2, (height - edge) // 2
        box = (left, top, left + edge, top + edge)
        picture = picture.resize((size, size), Image.Resampling.BILINEAR, box=box)
    return np.asarray(picture)


def read_folders(raw: Path, classes: tuple[str, ...], size: int) -> dict[str, Split]:
    """Splits of ``raw/SPLIT/CLASS/*``, for SPLIT train and test, and validation where there is one.

    Files are read in alphabetical order. A missing or empty folder, or a class not in ``classes``, is a UserError.
    """
    names = ["train", "test"] + (["validation"] if (raw / "validation").is_dir() else [])
    return {split: _read_split(raw / split, classes, size) for split in names}


def _read_split(folder: Path, classes: tuple[str, ...], size: int) -> Split:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected {folder}/CLASS/PICTURE")
    unknown = sorted({path.name for path in folder.iterdir() if path.is_dir()} - set(classes))
    if unknown:
        raise UserError(f"{folder / unknown[0]}: not one of the adapter's classes: {', '.join(classes)}")
    items = [(path, label) for label, name in enumerate(classes) for path in _files(folder / name)]
    x = np.stack([read_picture(path, size, path) for path, _ in items])
    return Split(x, np.array([label for _, label in items]))


def _files(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.glob("*") if path.is_file() and not path.name.startswith("."))
    if not files:
        raise UserError(f"{folder}: no such folder, or no picture in it")
    return files
