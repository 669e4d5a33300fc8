"""What an adapter says about a data set: where it is, how its bytes are checked, how it is read and split."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from contrastbench.params.data import DataParams

SAMPLE_RATE = 16_000  # Hz, of all stored audio


@dataclass(frozen=True)
class Archive:
    """One official file.

    url     None for a file that the user must provide
    digest  hexadecimal, by ``algorithm``, as stated by the publisher; None where none is published, in which case the
            reader checks the contents by rules (names, counts, labels)
    size    in bytes
    alternatives  other archives of the same data, each used instead of this one where it is present
    """

    url: str | None
    name: str
    digest: str | None = None
    algorithm: Literal["md5", "sha256"] = "sha256"
    size: int | None = None
    alternatives: tuple["Archive", ...] = ()


@dataclass(frozen=True)
class Split:
    """The examples of one split.

    x        (N, ...) array: images uint8 (N, H, W, C); audio int16 samples of all clips, concatenated
    y        (N,) class numbers, or None for unlabeled data
    columns  further arrays with one entry per example (for audio also ``offsets``, N + 1 positions in ``x``);
             examples with the same ``group`` come from one source and stay together when ``train`` is split
    skipped  files that were left out, each with the reason
    """

    x: np.ndarray
    y: np.ndarray | None
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Number of examples N."""
        return len(self.columns["offsets"]) - 1 if "offsets" in self.columns else len(self.x)


@dataclass(frozen=True)
class Adapter:
    """A data set.

    modality     under which it is registered (``registry.py``)
    read         (raw folder, parameters) -> splits as published; must include ``train``, and ``test`` where
                 examples are not judged in folds
    split_rule   one sentence that says what the published splits are; where ``validation`` is absent, the
                 store carves it out of ``train``
    unpacked     folders in the raw folder that ``read`` accepts instead of the archives, because it checks
                 their contents itself
    """

    name: str
    modality: str
    classes: tuple[str, ...]
    licence: str
    source: str
    split_rule: str
    read: Callable[[Path, DataParams], dict[str, Split]]
    archives: tuple[Archive, ...] = ()
    unpacked: tuple[str, ...] = ()


def hold_out_last(x: np.ndarray, y: np.ndarray, per_class: int) -> dict[str, Split]:
    """Splits of a data set published without any: the last ``per_class`` examples of each class are the test split."""
    test = np.concatenate([np.flatnonzero(y == label)[-per_class:] for label in np.unique(y)])
    is_test = np.isin(np.arange(len(y)), test)
    return {"train": Split(x[~is_test], y[~is_test]), "test": Split(x[is_test], y[is_test])}
