"""What CIFAR-10 and CIFAR-100 share: torchvision reads them, after checking the official md5 of every file."""

from pathlib import Path
from typing import Any

import numpy as np

from contrastbench.datasets.base import Archive, Split
from contrastbench.datasets.fetch import unpacked
from contrastbench.errors import UserError


def read_cifar(raw: Path, archive: Archive, reader_name: str) -> dict[str, Split]:
    """Read the two official splits from the archive in ``raw``, or from its unpacked folder there."""
    from contrastbench import torch_compat  # noqa: F401, I001  (must come before torchvision)
    from torchvision import datasets

    reader = getattr(datasets, reader_name)
    if (raw / reader.base_folder).is_dir():
        return _read_folder(raw, reader)
    with unpacked(raw / archive.name) as folder:
        return _read_folder(folder, reader)


def _read_folder(root: Path, reader: Any) -> dict[str, Split]:
    splits = {}
    for split, is_train in (("train", True), ("test", False)):
        try:
            data = reader(str(root), train=is_train, download=False)
        except RuntimeError:
            folder = root / reader.base_folder
            raise UserError(
                f"{folder}: a file is missing or not the official one (md5); delete it all and fetch"
            ) from None
        splits[split] = Split(data.data, np.asarray(data.targets))
    return splits
