"""STL-10: 96 x 96 colour photos, 5,000 labelled for training, 8,000 for test, 100,000 unlabeled."""

from pathlib import Path

from contrastbench import torch_compat  # noqa: F401  (must come before torchvision)
from contrastbench.datasets.base import Adapter, Archive, Split
from contrastbench.datasets.fetch import unpack
from contrastbench.errors import UserError

ARCHIVE = Archive(
    url="http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
    name="stl10_binary.tar.gz",
    digest="91f7769df0f17e558f3565bffb0c7dfb",
    algorithm="md5",
)


def _read(raw: Path) -> dict[str, Split]:
    from torchvision.datasets import STL10

    if not (raw / STL10.base_folder).is_dir():
        unpack(raw / ARCHIVE.name, raw / "unpacked")
        raw = raw / "unpacked"
    splits = {}
    for split in ("train", "test", "unlabeled"):
        try:
            data = STL10(str(raw), split=split, download=False)
        except RuntimeError:
            folder = raw / STL10.base_folder
            raise UserError(f"{folder}: missing or wrong files (official md5s differ); fetch the archive again") from None
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
    unpacked=("stl10_binary",),
)
