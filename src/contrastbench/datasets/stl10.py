"""STL-10: 96 x 96 colour photos, 5,000 labelled for training, 8,000 for test, 100,000 unlabeled."""

from pathlib import Path

from contrastbench.datasets.base import Adapter, Archive, Split
from contrastbench.datasets.fetch import unpacked
from contrastbench.errors import UserError
from contrastbench.params.data import DataParams

ARCHIVE = Archive(
    url="http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
    name="stl10_binary.tar.gz",
    digest="91f7769df0f17e558f3565bffb0c7dfb",
    algorithm="md5",
    size=2_640_397_119,
)
FOLDER = "stl10_binary"


def _read(raw: Path, _: DataParams) -> dict[str, Split]:
    if (raw / FOLDER).is_dir():
        return _read_folder(raw)
    with unpacked(raw / ARCHIVE.name) as folder:
        return _read_folder(folder)


def _read_folder(root: Path) -> dict[str, Split]:
    from contrastbench import torch_compat  # noqa: F401, I001  (must come before torchvision)
    from torchvision.datasets import STL10

    splits = {}
    for split in ("train", "test", "unlabeled"):
        try:
            data = STL10(str(root), split=split, download=False)
        except RuntimeError:
            folder = root / FOLDER
            raise UserError(
                f"{folder}: a file is missing or not the official one (md5); delete it all and fetch"
            ) from None
        labels = None if split == "unlabeled" else data.labels
        splits[split] = Split(data.data.transpose(0, 2, 3, 1), labels)
    return splits


ADAPTER = Adapter(
    name="stl10",
    modality="image",
    classes=("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"),
    licence="no explicit licence; free for research, cite Coates, Lee and Ng (2011)",
    source="https://cs.stanford.edu/~acoates/stl10/",
    split_rule="official train (5,000), test (8,000) and unlabeled (100,000)",
    read=_read,
    archives=(ARCHIVE,),
    unpacked=(FOLDER,),
)
