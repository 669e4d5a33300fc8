"""The stored examples of one batch after another, on the training device.

On the CPU they are read where they lie, memory-mapped. On an accelerator the host never waits for the device: data
that fit lie there as stored (images as uint8); of larger data a thread reads one batch ahead, into pinned memory.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from contrastbench.augment.host import is_queued, pinned, upload
from contrastbench.modalities import Stored
from contrastbench.training.order import ExampleOrder

# Stored examples of one step, on the device where they are arrays, and their positions (B,) there.
Rows = tuple[Any, Tensor]

SHARE = 0.25  # of the device's free memory, which stored examples may fill; activations need the rest
ROWS_AT_ONCE = 4096  # copied to the device


def feed(x: Stored, order: ExampleOrder, device: torch.device, first: int) -> Iterator[Rows]:
    """The examples of step ``first`` and all that follow, read in the way that suits the device and their size."""
    if not is_queued(device):
        return in_place(x, order, first)
    return (resident if _fits(x, device) else read_ahead)(x, order, device, first)


def _fits(x: Stored, device: torch.device) -> bool:
    row = x[np.arange(1)]
    return isinstance(row, np.ndarray) and len(x) * row.nbytes <= SHARE * torch.cuda.mem_get_info(device)[0]


def in_place(x: Stored, order: ExampleOrder, first: int) -> Iterator[Rows]:
    """Read when they are asked for."""
    for number in range(first, order.total):
        index = order.batch(number)
        yield x[index], torch.from_numpy(index)


def resident(x: Stored, order: ExampleOrder, device: torch.device, first: int) -> Iterator[Rows]:
    """Gathered from a copy of all examples on the device."""
    row = torch.from_numpy(x[np.arange(1)])
    stored = torch.empty((len(x), *row.shape[1:]), dtype=row.dtype, device=device)
    for start in range(0, len(x), ROWS_AT_ONCE):
        part = np.arange(start, min(start + ROWS_AT_ONCE, len(x)))
        stored[start : start + len(part)].copy_(torch.from_numpy(x[part]))
    for number in range(first, order.total):
        index = upload(torch.from_numpy(order.batch(number)), device)
        yield stored.index_select(0, index), index


def read_ahead(x: Stored, order: ExampleOrder, device: torch.device, first: int) -> Iterator[Rows]:
    """Read by a thread into pinned memory, one batch ahead of the one at hand."""

    def read(number: int) -> Rows:
        index = order.batch(number)
        rows = x[index]
        if isinstance(rows, np.ndarray):
            rows = pinned(torch.from_numpy(rows), device)
        return rows, pinned(torch.from_numpy(index), device)

    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(read, first)
        for following in range(first + 1, order.total + 1):
            rows, index = coming.result()
            if following < order.total:
                coming = thread.submit(read, following)
            if isinstance(rows, Tensor):
                rows = rows.to(device, non_blocking=True)
            yield rows, index.to(device, non_blocking=True)
