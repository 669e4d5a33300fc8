"""Optical digits: 1,797 real handwritten digits (8 x 8) that come with scikit-learn; for quick runs."""

from pathlib import Path

import numpy as np

from contrastbench.datasets.base import Adapter, Split, hold_out_last
from contrastbench.params.data import DataParams

TEST_PER_CLASS = 40


def _read(_: Path, __: DataParams) -> dict[str, Split]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    # 17 grey levels, stretched to 0..255.
    x = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    return hold_out_last(x, digits.target, TEST_PER_CLASS)


ADAPTER = Adapter(
    name="digits",
    modality="image",
    classes=tuple("0123456789"),
    licence="CC BY 4.0 (UCI, Optical Recognition of Handwritten Digits, Alpaydin and Kaynak)",
    source="package scikit-learn, sklearn.datasets.load_digits",
    split_rule=f"test: the last {TEST_PER_CLASS} examples of each class in the file's order; train: the others",
    read=_read,
)
