"""What CIFAR-10 and CIFAR-100 share: torchvision reads them and checks the official md5 of every file."""

from pathlib import Path

import numpy as np

from contrastbench import torch_compat  # noqa: F401  (must come before torchvision)
from contrastbench.datasets.base import Archive, Split
from contrastbench.datasets.fetch import unpack
from contrastbench.errors import UserError


def read_cifar(raw: Path, archive: Archive, reader_name: str) -> dict[str, Split]:
    """Read the two official splits from the archive, or from its unpacked folder in ``raw``."""
    from torchvision import datasets

    reader = getattr(datasets, reader_name)
    if not (raw / reader.base_folder).is_dir():
        unpack(raw / archive.name, raw / "unpacked")
        raw = raw / "unpacked"
    splits = {}
    for split, is_train in (("train", True), ("test", False)):
        try:
            data = reader(str(raw), train=is_train, download=False)
        except RuntimeError:
            folder = raw / reader.base_folder
            raise UserError(f"{folder}: missing or wrong files (official md5s differ); fetch the archive again") from None
        splits[split] = Split(data.data, np.asarray(data.targets))
    return splits
