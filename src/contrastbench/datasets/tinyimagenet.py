"""TinyImageNet: 200 classes of ImageNet at 64 x 64; the official validation images are the test split."""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from contrastbench.datasets.base import Adapter, Archive, Split
from contrastbench.datasets.fetch import unpack
from contrastbench.errors import UserError

ARCHIVE = Archive(
    url="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
    name="tiny-imagenet-200.zip",
    digest="90528d7ca1a48142e341f4ef8d21d0de",
    algorithm="md5",
)
FOLDER = "tiny-imagenet-200"
NUMBER_OF_CLASSES = 200


def _read(raw: Path) -> dict[str, Split]:
    if not (raw / FOLDER).is_dir():
        unpack(raw / ARCHIVE.name, raw / "unpacked")
        raw = raw / "unpacked"
    folder = raw / FOLDER
    try:
        return read_folder(folder)
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: missing; fetch {ARCHIVE.name} again") from None


def read_folder(folder: Path) -> dict[str, Split]:
    """Read the official layout: ``wnids.txt``, ``train/WNID/images/*``, ``val/images/*``, ``val/val_annotations.txt``."""
    numbers = {wnid: number for number, wnid in enumerate(sorted((folder / "wnids.txt").read_text().split()))}
    train = [
        (path, numbers[wnid]) for wnid in numbers for path in sorted((folder / "train" / wnid / "images").iterdir())
    ]
    lines = (folder / "val" / "val_annotations.txt").read_text().splitlines()
    test = [(folder / "val" / "images" / line.split("\t")[0], numbers[line.split("\t")[1]]) for line in lines]
    return {"train": _decode(train), "test": _decode(test)}


def _decode(items: list[tuple[Path, int]]) -> Split:
    x = np.empty((len(items), 64, 64, 3), np.uint8)
    for position, (path, _) in enumerate(items):
        try:
            with Image.open(path) as image:
                x[position] = np.asarray(image.convert("RGB"))
        except (UnidentifiedImageError, ValueError):
            raise UserError(f"{path}: not a 64 x 64 image") from None
    return Split(x, np.array([label for _, label in items]))


ADAPTER = Adapter(
    name="tinyimagenet",
    modality="image",
    classes=tuple(f"class-{number:03d}" for number in range(NUMBER_OF_CLASSES)),
    licence="ImageNet's terms of access (non-commercial research)",
    source="http://cs231n.stanford.edu (Le and Yang, Tiny ImageNet Visual Recognition Challenge, 2015)",
    split_rule="official train (100,000); test: the official validation images (10,000), whose labels are public",
    read=_read,
    archives=(ARCHIVE,),
    unpacked=(FOLDER,),
)
