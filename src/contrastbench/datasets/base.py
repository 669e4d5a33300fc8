"""What an adapter says of a data set: where it is, how its bytes are checked, how it is read and split."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Archive:
    """One official file. ``digest`` is hexadecimal, by ``algorithm``, as its publisher states it; size in bytes."""

    url: str
    name: str
    digest: str
    algorithm: Literal["md5", "sha256"]
    size: int | None = None


@dataclass(frozen=True)
class Split:
    """Examples of one split.

    x        (N, ...) array: images uint8 (N, H, W, C); audio int16 samples of all clips, one after another
    y        (N,) class numbers, or None for unlabeled data
    columns  further arrays of one entry per example (for audio also ``offsets``, N + 1 positions in ``x``)
    """

    x: np.ndarray
    y: np.ndarray | None
    columns: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of examples N."""
        return len(self.columns["offsets"]) - 1 if "offsets" in self.columns else len(self.x)


@dataclass(frozen=True)
class Adapter:
    """A data set.

    read         raw folder -> splits as published; must hold ``train`` and ``test``
    split_rule   one sentence that says what the published splits are; where ``validation`` is absent, the
                 store carves it out of ``train``
    unpacked     folders in the raw folder that ``read`` takes in place of the archives, because it checks the
                 official hash of every file in them itself
    """

    name: str
    modality: Literal["image", "audio"]
    classes: tuple[str, ...]
    licence: str
    source: str
    split_rule: str
    read: Callable[[Path], dict[str, Split]]
    archives: tuple[Archive, ...] = ()
    unpacked: tuple[str, ...] = ()


def hold_out_last(x: np.ndarray, y: np.ndarray, per_class: int) -> dict[str, Split]:
    """Splits of a data set that was published without any: the last ``per_class`` examples of each class are test."""
    test = np.concatenate([np.flatnonzero(y == label)[-per_class:] for label in np.unique(y)])
    is_test = np.isin(np.arange(len(y)), test)
    return {"train": Split(x[~is_test], y[~is_test]), "test": Split(x[is_test], y[is_test])}
