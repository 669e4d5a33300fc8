"""What a training step costs each of several processes that train together, against a process by itself.

    python benchmarks/distributed.py [--device cpu|cuda] [--processes 2] [--methods simclr unremix] [--batch 256]
                                     [--architecture resnet-slim] [--width 16] [--rounds 5] [--tiny]

Every process takes turns: a step by itself on the whole batch; one together with the others; one together, with
BatchNorm of each part alone. Pictures are random. At best the ratio is 1 / processes: what every process does for the
whole batch (augmentation, projector, loss) stays. On a CPU it is in CPU seconds, and synchronised BatchNorm, which has
no fused kernel there, costs more than it divides: there it is for tests.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from contrastbench.methods import Batch, Step, method_class
from contrastbench.modalities import modality
from contrastbench.params.image_track import ImageTrack
from contrastbench.params.root import load
from contrastbench.training.engine import Engine, engine_for
from contrastbench.training.optimizers import build_optimizer
from contrastbench.training.processes import launch
from contrastbench.training.seeds import generator_for

ROOT = Path(__file__).resolve().parent.parent


def stepper(name: str, given: argparse.Namespace, engine: Engine) -> Callable[[int], float]:
    """A function that takes one step of a method and returns its seconds."""
    track = load(root=ROOT).track("unremix")
    assert isinstance(track, ImageTrack)
    params, images = track.pretrain(name, "mnist5k"), modality("image")
    encoder = params.encoder.model_copy(update={"architecture": given.architecture, "width": given.width})
    torch.manual_seed(0)
    method = method_class(name).from_params(params.model_copy(update={"encoder": encoder}), (1, 28, 28), 10).train()
    method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = build_optimizer(method, params.training)
    training_step, optimizer = engine.setup(method, optimizer)
    stored = torch.randint(256, (given.batch, 28, 28, 1), dtype=torch.uint8).numpy()
    augment = images.augmentation(params.augment)

    def step(number: int) -> float:
        begun = _now(engine.device)
        at = Step(number, 1000, 10, generator_for(engine.device, "benchmark", number))
        clean = images.inputs(stored, engine.device)
        views = [augment(clean, at.generator) for _ in range(method.number_of_views)]
        output = training_step(Batch(clean, views, torch.arange(given.batch, device=engine.device), None), at)
        optimizer.zero_grad(set_to_none=True)
        engine.backward(output["loss"])
        optimizer.step()
        return _now(engine.device) - begun

    return step


def _now(device: torch.device) -> float:
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def measure(given: argparse.Namespace) -> None:
    """What each of the processes measures; the first prints."""
    together, apart = (engine_for(given.device, "32-true", sync_batchnorm=sync) for sync in (True, False))
    for name in given.methods:
        steps = [stepper(name, given, engine) for engine in (together.engine, together, apart)]  # type: ignore[attr-defined]
        seconds = [[step(number) for step in steps] for number in range(given.rounds + 1)][1:]  # the first fills caches
        alone, *shared = (median(column) for column in zip(*seconds, strict=True))
        print(f"{name:10} alone {alone:.4f} s", end="")
        for what, each in zip(("BatchNorm of the batch", "of each part"), shared, strict=True):
            print(f"   {what} {each:.4f} s, ratio {each / alone:.2f}", end="")
        print(flush=True)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--architecture", default="resnet-slim")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--methods", nargs="+", default=["simclr", "unremix"])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="one small round, to see that it runs")
    given = parser.parse_args()
    if given.tiny:
        given.batch, given.rounds = 32, 1
    launch(measure, given, processes=given.processes, device=given.device)


if __name__ == "__main__":
    main()
