"""What the host does by itself while an accelerator works behind its back.

Work for an accelerator is queued; the host waits for it only when it reads a result (``float``, ``tolist``,
``nonzero``, a boolean index) or copies from memory that is not pinned. Training and its augmentation never do.
"""

import hashlib

import torch
from torch import Generator, Tensor


def is_queued(device: torch.device) -> bool:
    """Whether reading a result from ``device`` makes the host wait: true of every accelerator."""
    return device.type != "cpu"


def on_host(generator: Generator) -> Generator:
    """A generator for what the host must know, such as the order of operations: ``generator`` itself on the CPU.

    An accelerator's state is known without waiting for it: its seed, and how far it has been drawn from. Two calls
    without a draw in between therefore give equal streams.
    """
    if not is_queued(generator.device):
        return generator
    state = f"{generator.initial_seed()}/{generator.get_offset()}"
    return Generator().manual_seed(int.from_bytes(hashlib.sha256(state.encode()).digest()[:8], "big") >> 1)


def pinned(values: Tensor, device: torch.device) -> Tensor:
    """``values`` in memory from which a copy to ``device`` does not make the host wait."""
    return values.pin_memory() if device.type == "cuda" else values


def upload(values: Tensor, device: torch.device) -> Tensor:
    """``values`` on ``device``, without waiting."""
    return pinned(values, device).to(device, non_blocking=True)
