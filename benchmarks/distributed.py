"""How much of a training step is divided when several processes train together, in CPU seconds of one of them.

    python benchmarks/distributed.py [--processes 2] [--methods simclr unremix] [--batch 256] [--rounds 5] [--tiny]

Every process takes turns: a step by itself on the whole batch, a step together with the others. Pictures are random,
the network and the augmentation are the track's own. What every process does for the whole batch (reading,
augmentation, projector, loss) stays; at best the ratio is 1 / processes.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import distributed

from contrastbench.methods import Batch, Step, method_class
from contrastbench.modalities import modality
from contrastbench.params.image_track import ImageTrack
from contrastbench.params.root import load
from contrastbench.training.engine import Engine, engine_for
from contrastbench.training.optimizers import build_optimizer
from contrastbench.training.processes import launch
from contrastbench.training.seeds import generator_for

ROOT = Path(__file__).resolve().parent.parent


def stepper(name: str, rows: int, engine: Engine) -> Callable[[int], float]:
    """A function that takes one step of a method and returns its CPU seconds in this process."""
    track = load(root=ROOT).track("unremix")
    assert isinstance(track, ImageTrack)
    params, images = track.pretrain(name, "mnist5k"), modality("image")
    torch.manual_seed(0)
    method = method_class(name).from_params(params, (1, 28, 28), 10).train()
    method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    training_step, optimizer = engine.setup(method, build_optimizer(method, params.training))
    stored = torch.randint(256, (rows, 28, 28, 1), dtype=torch.uint8).numpy()
    augment = images.augmentation(params.augment)

    def step(number: int) -> float:
        begun = time.process_time()
        at = Step(number, 1000, 10, generator_for(torch.device("cpu"), "benchmark", number))
        clean = images.inputs(stored, at.generator.device)
        views = [augment(clean, at.generator) for _ in range(method.number_of_views)]
        output = training_step(Batch(clean, views, torch.arange(rows), None), at)
        optimizer.zero_grad(set_to_none=True)
        engine.backward(output["loss"])
        optimizer.step()
        return time.process_time() - begun

    return step


def measure(methods: list[str], rows: int, rounds: int) -> None:
    """What one of the processes measures; the first prints."""
    together = engine_for("cpu", "32-true")
    alone = together.engine  # type: ignore[attr-defined]
    for name in methods:
        steps = [stepper(name, rows, engine) for engine in (alone, together)]
        seconds = [[step(number) for step in steps] for number in range(rounds + 1)][1:]  # the first fills caches
        whole, part = (median(column) for column in zip(*seconds, strict=True))
        ratio = part / whole
        print(f"{name:10} alone {whole:.3f} s   of {distributed.get_world_size()} {part:.3f} s   ratio {ratio:.2f}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--methods", nargs="+", default=["simclr", "unremix"])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="one small round, to see that it runs")
    given = parser.parse_args()
    rows, rounds = (32, 1) if given.tiny else (given.batch, given.rounds)
    launch(measure, given.methods, rows, rounds, processes=given.processes, device="cpu")


if __name__ == "__main__":
    main()
