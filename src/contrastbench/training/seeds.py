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


def seed_globally(device: torch.device, *parts: int | str) -> None:
    """Seed the generators that libraries use unasked, the CPU's and the device's, for the stream named by ``parts``.

    ``torch.manual_seed`` would also keep a stack trace of each call for every kind of device that is not there.
    """
    seed = seed_for(*parts)
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
