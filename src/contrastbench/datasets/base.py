"""What an adapter says of a data set: where it is, how its bytes are checked, how it is read and split."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Archive:
    """One official file. ``digest`` is hexadecimal, by ``algorithm``, as its publisher states it."""

    url: str
    name: str
    digest: str
    algorithm: Literal["md5", "sha256"]


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


@dataclass(frozen=True)
class Adapter:
    """A data set.

    read         raw folder -> splits as published; must hold ``train`` and ``test``
    split_rule   one sentence that says what the published splits are; where ``validation`` is absent, the
                 store carves it out of ``train``
    unpacked     names in the raw folder that stand for the archives where a user has unpacked them already
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
