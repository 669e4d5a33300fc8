"""Examples that are the same, which belong into one split."""

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from contrastbench.datasets.base import Split
from contrastbench.files import file_hash

HEAD = 1 << 16  # bytes by which most files of equal size are told apart


def same_files(paths: Sequence[Path], seconds: float = math.inf) -> list[list[int]]:
    """Positions of the files with the same bytes, for each content that several have.

    Those that cannot be compared within so many ``seconds`` are taken to differ.
    """
    end, alike = time.monotonic() + seconds, [[*range(len(paths))]]
    for key in (_size, _head, file_hash):
        alike = [some for group in alike for some in _alike(group, paths, key, end)]
    return alike


def _alike(positions: list[int], paths: Sequence[Path], key: Callable[[Path], Any], end: float) -> list[list[int]]:
    """The ``positions`` of files with an equal ``key``, which is asked for until the time ``end``."""
    found: dict[Any, list[int]] = {}
    for position in positions:
        if time.monotonic() > end:
            break
        with suppress(OSError):  # told by whoever decodes it
            found.setdefault(key(paths[position]), []).append(position)
    return [group for group in found.values() if len(group) > 1]


def _size(path: Path) -> int:
    return path.stat().st_size


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.sha256(file.read(HEAD)).digest()


def merged(units: Sequence[str], copies: list[list[int]]) -> list[str]:
    """What goes into a split as a whole, for each example: of ``units`` those that hold ``copies`` are one."""
    leads_to = {unit: unit for unit in units}

    def leader(unit: str) -> str:
        while leads_to[unit] != unit:
            unit = leads_to[unit]
        return unit

    for positions in copies:
        first, *rest = sorted(leader(units[position]) for position in positions)
        for other in rest:
            leads_to[leader(other)] = leader(first)
    return [leader(unit) for unit in units]


def twins(splits: dict[str, Split], names: dict[str, list[str]]) -> list[str]:
    """A line where examples of two splits are equal to the last bit; ``names`` are those of each split's examples."""
    found = {split: dict(zip(digests(splits[split]), names[split], strict=True)) for split in names}
    told = []
    for one, other in combinations(found, 2):
        shared = [digest for digest in found[one] if digest in found[other]]
        if shared:
            first = f"{found[one][shared[0]]} and {found[other][shared[0]]}"
            told.append(f"{len(shared)} examples of {other} stand in {one} as well, such as {first}: leave them out")
    return told


def digests(data: Split) -> Iterable[bytes]:
    """The sha256 of each example's numbers, in order."""
    offsets = data.columns.get("offsets", np.arange(data.count + 1))
    return (hashlib.sha256(data.x[start:stop].tobytes()).digest() for start, stop in pairwise(offsets))
