"""The training data of one run, as the training loop wants it."""

import numpy as np

from contrastbench.datasets.store import Prepared
from contrastbench.methods import Method
from contrastbench.modalities import Stored, modality_of
from contrastbench.params.base import Section
from contrastbench.training.loop import Examples


class Joined:
    """Several stored arrays, indexed as one: what STL-10's `train` plus `unlabeled` is trained on."""

    def __init__(self, arrays: list[Stored]) -> None:
        self._arrays = arrays
        self._starts = np.cumsum([0, *map(len, arrays)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        """The examples at sorted positions ``index``."""
        parts = []
        for array, start, stop in zip(self._arrays, self._starts, self._starts[1:], strict=False):
            inside = index[(index >= start) & (index < stop)]
            if len(inside):
                parts.append(array[inside - start])
        return np.concatenate(parts)


def examples_for(method: Method, data: Prepared, augment_params: Section) -> Examples:
    """``train``, joined with ``unlabeled`` where there is such a split and the method needs no labels."""
    kind = modality_of(data)
    train, augment = kind.examples(data, "train"), kind.augmentation(augment_params)
    if "unlabeled" in data.meta.splits and not method.uses_labels:
        return Examples(Joined([train, kind.examples(data, "unlabeled")]), None, kind.inputs, augment)
    return Examples(train, data.y("train"), kind.inputs, augment)
