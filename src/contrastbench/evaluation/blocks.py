"""Features that may be larger than memory, as blocks of float32 rows on a device."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

ROWS = 16384  # of a block: 32 MiB at 512 features
KEPT = 4 << 30  # bytes of blocks that stay in memory, or on the device, between passes


def blocks(features: np.ndarray, device: str) -> Iterator[Tensor]:
    """The rows of ``features`` (N, D), of any floating-point type and possibly memory-mapped, block after block."""
    for start in range(0, len(features), ROWS):
        rows = np.array(features[start : start + ROWS], dtype=np.float32)  # a copy: what is mapped may be read-only
        yield torch.from_numpy(rows).to(device)


class Blocks:
    """What ``change`` makes of each block of ``features``, to be passed over more than once.

    Kept where they fit into ``KEPT`` bytes, else read and changed in every pass.
    """

    def __init__(self, features: np.ndarray, device: str, change: Callable[[Tensor], Tensor]) -> None:
        self._features, self._device, self._change = features, device, change
        self._kept = list(self._read()) if 4 * features.size <= KEPT else None

    def __iter__(self) -> Iterator[Tensor]:
        return self._read() if self._kept is None else iter(self._kept)

    def _read(self) -> Iterator[Tensor]:
        return (self._change(block) for block in blocks(self._features, self._device))
