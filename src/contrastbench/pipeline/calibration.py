"""How fast is this machine? The time of a piece of training that is the same everywhere."""

import time
from importlib import import_module

SECONDS = 2.0  # that it may take, and ten steps at least


def calibration_s() -> float:
    """Processor seconds of one step of a small convolutional network, on one core, the quickest of several."""
    torch = import_module("torch")  # two seconds: only where there is something to scale
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(1, 32, 3), torch.nn.ReLU(), torch.nn.Conv2d(32, 32, 3), torch.nn.ReLU(), torch.nn.Flatten(),
        torch.nn.Linear(32 * 24 * 24, 64),
    )  # fmt: skip
    images = torch.zeros(64, 1, 28, 28)
    times: list[float] = []
    begun = time.perf_counter()
    while len(times) < 10 or time.perf_counter() - begun < SECONDS:
        before = time.process_time()
        layers(images).square().mean().backward()
        times.append(time.process_time() - before)
    torch.set_num_threads(threads)
    return min(times)
