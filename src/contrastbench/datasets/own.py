"""A data set of the user's own: what reading one takes and leaves."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contrastbench.datasets.base import Split
from contrastbench.errors import UserError
from contrastbench.params.data import DataParams

LICENCE = "the user's own"
SPLITS = ("train", "validation", "test")
SHOWN = 3  # files named in a message


@dataclass(frozen=True)
class Reading:
    """What a reader gets besides a declaration.

    name      of the data set
    path      where it lies
    params    of all data
    progress  passes on the items that are read, and shows how many there are
    check     is told the class numbers of each split as soon as they are known; refuses data that are not enough
    """

    name: str
    path: Path
    params: DataParams
    progress: Callable[[Sequence[Any]], Iterable[Any]]
    check: Callable[[Mapping[str, np.ndarray]], None]


@dataclass(frozen=True)
class Own:
    """A data set of the user's own, read: what `write_prepared` wants, and what the user should know (``told``)."""

    name: str
    modality: str
    classes: tuple[str, ...]
    source: str
    split_rule: str
    splits: dict[str, Split]
    told: tuple[str, ...] = ()
    licence: str = LICENCE


def refuse_bad(name: str, bad: Sequence[str], count: int, on_bad_file: str) -> None:
    """Raise a UserError that counts the ``bad`` of ``count`` files and names some, unless they are skipped."""
    if bad and on_bad_file == "refuse":
        shown = "; ".join(bad[:SHOWN]) + ("; ..." if len(bad) > SHOWN else "")
        raise UserError(
            f"{len(bad)} of {count} files are bad: {shown} (datasets.{name}.on_bad_file: skip leaves them out)"
        )
