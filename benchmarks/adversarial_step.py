"""What one training step of every method of the SwARo track costs: image passes and seconds, side by side.

    python benchmarks/adversarial_step.py [--batch 128] [--width 8] [--seconds 60] [--attack own|equal] [--tiny]

The methods take turns, so that other work on the machine affects all of them; the fastest step counts. Passes are
counted by a hook on the encoder (DynACL: on both), in units of the batch size B: an image forwarded with gradients
counts as 1, one without as 1/3. ``own`` gives every attack the steps of its own code (RoCL and A-InfoNCE 7, ACL and
DynACL 5, CLAE 1, SwARo 7, PGD-AT 7, TRADES 10); ``equal`` gives 7 to all but CLAE, which is a one-step method. DynACL's
time includes its views, which it makes itself.
"""

import argparse
import time
from contextlib import ExitStack
from pathlib import Path

import torch

from contrastbench.attacks.geometry import ImagePasses
from contrastbench.methods import Batch, Method, Step, method_class
from contrastbench.params.image_track import ImageTrack
from contrastbench.params.root import load
from contrastbench.training.optimizers import build_optimizer
from contrastbench.training.seeds import generator_for

OWN_STEPS = {"rocl": 7, "acl": 5, "dynacl": 5, "a-infonce": 7, "swaro": 7, "pgd-at": 7, "trades": 10}
EQUAL_STEPS = dict.fromkeys(OWN_STEPS, 7)
# label -> (method, changed settings)
CASES: dict[str, tuple[str, dict]] = {
    "simclr": ("simclr", {}),
    "swav": ("swav", {}),
    "rocl, target forwarded anew": ("rocl", {"reforward_target": True}),
    "rocl": ("rocl", {"reforward_target": False}),
    "acl": ("acl", {}),
    "clae": ("clae", {}),
    "dynacl": ("dynacl", {}),
    "a-infonce": ("a-infonce", {}),
    "swaro replace": ("swaro", {}),
    "swaro add": ("swaro", {"loss": "add"}),
    "supervised": ("supervised", {}),
    "pgd-at": ("pgd-at", {}),
    "trades": ("trades", {}),
}


class Case:
    """One method with its optimiser; ``seconds`` holds the time of every ``step``."""

    def __init__(self, name: str, changes: dict, arguments: argparse.Namespace, root: Path) -> None:
        track = load(root=root).track("swaro")
        assert isinstance(track, ImageTrack)
        params = track.pretrain(name, "mnist5k")
        steps = OWN_STEPS if arguments.attack == "own" else EQUAL_STEPS
        changes = changes | ({"steps": steps[name]} if name in steps else {})
        params = params.model_copy(
            update={
                "encoder": params.encoder.model_copy(update={"width": arguments.width}),
                "settings": params.settings.model_copy(update=changes),
            }
        )
        torch.manual_seed(0)
        self.method: Method = method_class(name).from_params(params, (1, arguments.size, arguments.size), 10)
        self.method.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = build_optimizer(self.method, params.training)
        generator = torch.Generator().manual_seed(0)
        views = [torch.rand(arguments.batch, 1, arguments.size, arguments.size, generator=generator) for _ in range(2)]
        labels = torch.arange(arguments.batch) % 10
        self.batch = Batch(views[0], views[: self.method.number_of_views], torch.arange(arguments.batch), labels)
        self.seconds: list[float] = []
        with ExitStack() as stack:
            counts = [stack.enter_context(ImagePasses(network)) for network in self.method.networks()]
            self.step(0)
        self.seconds.clear()  # the first step fills caches
        self.passes = sum(count.images - count.forward_only * 2 / 3 for count in counts) / arguments.batch

    def step(self, number: int) -> None:
        """One training step, timed."""
        step = Step(number, 1000, 10, generator_for(torch.device("cpu"), "benchmark", number))
        begun = time.perf_counter()
        output = self.method.training_step(self.batch, step)
        self.optimizer.zero_grad(set_to_none=True)
        output["loss"].backward()
        self.method.after_backward(step)
        self.optimizer.step()
        self.method.after_step(step)
        self.seconds.append(time.perf_counter() - begun)


def main() -> None:
    """Measure all methods in turns and print one line for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--size", type=int, default=28)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--attack", choices=("own", "equal"), default="own")
    parser.add_argument("--tiny", action="store_true", help="least sizes, to see that this script works")
    if parser.parse_args().tiny:
        parser.set_defaults(batch=30, width=4, size=8, seconds=0.1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    root = Path(__file__).resolve().parent.parent
    cases = {label: Case(name, changes, arguments, root) for label, (name, changes) in CASES.items()}
    end = time.perf_counter() + arguments.seconds
    number = 1
    while number < 4 or time.perf_counter() < end:
        for case in cases.values():
            case.step(number)
        number += 1
    unit = min(cases["swav"].seconds)
    print(
        f"B = {arguments.batch}, resnet-slim width {arguments.width}, {arguments.size} x {arguments.size}, one thread, "
        f"attack steps: {arguments.attack}, fastest of {number - 1} steps in turns"
    )
    print(f"{'method':30}{'passes / B':>12}{'ms / step':>12}{'against swav':>14}")
    for label, case in cases.items():
        best = min(case.seconds)
        print(f"{label:30}{case.passes:12.1f}{1000 * best:12.1f}{best / unit:14.2f}")


if __name__ == "__main__":
    main()
