"""Time and memory of what is measured, and the device's name."""

import resource
import sys
import time


def device_name(device: str) -> str:
    """``cpu`` or the accelerator's own name."""
    if device != "cuda":
        return device
    import torch

    return torch.cuda.get_device_name(0)


class Meter:
    """Wall time since it was made, and the peak memory of this process (of the device on a GPU)."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()

    @property
    def wall_s(self) -> float:
        """Seconds since the meter was made."""
        return round(time.perf_counter() - self._begun, 3)

    @property
    def peak_mb(self) -> float:
        """Peak memory in MiB."""
        torch = sys.modules.get("torch")  # a stage that never loaded torch has used no GPU
        if torch is not None and torch.cuda.is_available():
            return round(torch.cuda.max_memory_allocated() / 2**20, 1)
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10, 1)
