"""Random streams that depend on names and numbers alone, never on the order of execution."""

import hashlib

import torch


def seed_for(*parts: int | str) -> int:
    """A 63-bit seed for the stream named by ``parts``, such as ``("order", seed, epoch)``."""
    text = "/".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator_for(device: torch.device, *parts: int | str) -> torch.Generator:
    """A generator on ``device``, seeded for the stream named by ``parts``."""
    return torch.Generator(device).manual_seed(seed_for(*parts))
