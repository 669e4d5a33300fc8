"""Time of the contrastive losses against other implementations, and of UnReMix's training step against SimCLR's.

    python benchmarks/losses.py [--seconds 5] [--tiny]

Forward and backward, embeddings of 128 dimensions, temperature 0.5, CPU time of one thread. The peers are published
implementations: of NT-Xent, solo-learn's (``simclr_loss_func``) and lightly's (``NTXentLoss``, where the package is
installed); of the hard-negative loss, joshr17/HCL's (``image/main.py``). UnReMix and MoCHi, which have none, are timed
beside NT-Xent, with the settings of the default run. All sides take turns, so that other work on
the machine affects all of them; medians and their ratios are printed, after a check that all sides compute the same
value.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from contrastbench.augment.images import augment_images
from contrastbench.methods import Batch, Step, method_class
from contrastbench.models.heads import Projection
from contrastbench.objectives.contrastive import hcl, nt_xent
from contrastbench.objectives.mochi import mochi_loss
from contrastbench.objectives.unremix import unremix_loss
from contrastbench.params.image_track import ImageTrack
from contrastbench.params.root import load

ROOT = Path(__file__).resolve().parent.parent
DIMENSIONS, HIDDEN, TEMPERATURE, TAU_PLUS, BETA = 128, 128, 0.5, 0.1, 1.0


def solo_learn_nt_xent(z1: Tensor, z2: Tensor) -> Tensor:
    """vturrisi/solo-learn, losses/simclr.py, for two views on one device: exponentials and masks."""
    z = functional.normalize(torch.cat([z1, z2]), dim=-1)
    indexes = torch.arange(len(z1)).repeat(2).unsqueeze(0)
    sim = torch.exp(torch.einsum("if, jf -> ij", z, z) / TEMPERATURE)
    pos_mask = (indexes.t() == indexes).fill_diagonal_(False)
    neg_mask = indexes.t() != indexes
    pos = torch.sum(sim * pos_mask, 1)
    neg = torch.sum(sim * neg_mask, 1)
    return -(torch.mean(torch.log(pos / (pos + neg))))


def authors_hcl(z1: Tensor, z2: Tensor) -> Tensor:
    """joshr17/HCL, image/main.py, ``criterion`` with estimator ``hard``, on the CPU."""
    out_1, out_2 = functional.normalize(z1, dim=-1), functional.normalize(z2, dim=-1)
    batch_size = len(z1)
    out = torch.cat([out_1, out_2], dim=0)
    neg = torch.exp(torch.mm(out, out.t().contiguous()) / TEMPERATURE)
    mask = torch.ones((batch_size, 2 * batch_size), dtype=torch.bool)
    for i in range(batch_size):
        mask[i, i] = 0
        mask[i, i + batch_size] = 0
    mask = torch.cat((mask, mask), 0)
    neg = neg.masked_select(mask).view(2 * batch_size, -1)
    pos = torch.exp(torch.sum(out_1 * out_2, dim=-1) / TEMPERATURE)
    pos = torch.cat([pos, pos], dim=0)
    count = batch_size * 2 - 2
    imp = (BETA * neg.log()).exp()
    reweight_neg = (imp * neg).sum(dim=-1) / imp.mean(dim=-1)
    ng = (-TAU_PLUS * count * pos + reweight_neg) / (1 - TAU_PLUS)
    ng = torch.clamp(ng, min=count * math.e ** (-1 / TEMPERATURE))
    return (-torch.log(pos / (pos + ng))).mean()


def our_hcl(z1: Tensor, z2: Tensor) -> Tensor:
    """contrastbench's hard-negative loss."""
    return hcl(z1, z2, temperature=TEMPERATURE, tau_plus=TAU_PLUS, beta=BETA)


def our_nt_xent(z1: Tensor, z2: Tensor) -> Tensor:
    """contrastbench's NT-Xent."""
    return nt_xent(z1, z2, temperature=TEMPERATURE)


def lightly_nt_xent() -> Callable[[Tensor, Tensor], Tensor] | None:
    """lightly's own loss; None where the package is not installed."""
    try:
        from lightly.loss import NTXentLoss  # after contrastbench, which makes torchvision importable
    except ImportError:
        return None
    return NTXentLoss(temperature=TEMPERATURE)


def in_turns(sides: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Median milliseconds of every side; the sides take turns until the time is up."""
    for side in sides.values():
        side()
    times: dict[str, list[float]] = {name: [] for name in sides}
    end = time.process_time() + seconds
    while time.process_time() < end:
        for name, side in sides.items():
            begun = time.process_time()
            side()
            times[name].append(1000 * (time.process_time() - begun))
    return {name: statistics.median(values) for name, values in times.items()}


def forward_backward(loss: Callable[[Tensor, Tensor], Tensor], z1: Tensor, z2: Tensor) -> Callable[[], object]:
    """A call that computes the loss and its gradients."""
    return lambda: torch.autograd.grad(loss(z1, z2), (z1, z2))


def compare(title: str, ours: Callable, peers: dict[str, Callable], batch: int, seconds: float) -> None:
    """Check that all sides agree, then print their medians and our ratio to the faster peer."""
    torch.manual_seed(0)
    z1, z2 = (torch.randn(batch, DIMENSIONS, requires_grad=True) for _ in range(2))
    for name, peer in peers.items():
        torch.testing.assert_close(ours(z1, z2), peer(z1, z2), rtol=1e-4, atol=1e-5, msg=f"{title}: {name} differs")
    sides = {name: forward_backward(loss, z1, z2) for name, loss in {"contrastbench": ours, **peers}.items()}
    medians = in_turns(sides, seconds)
    fastest = min(medians[name] for name in peers)
    shown = ", ".join(f"{name} {milliseconds:.2f} ms" for name, milliseconds in medians.items())
    print(f"{title}, B = {batch}: {shown}; ratio to the faster peer {medians['contrastbench'] / fastest:.2f}")


def beside_nt_xent(batch: int, dimensions: int, seconds: float) -> None:
    """UnReMix's and MoCHi's losses next to NT-Xent; they have no public peers of this form."""
    torch.manual_seed(0)
    track = load(root=ROOT).track("unremix")
    outputs = [torch.randn(batch, dimensions, requires_grad=True) for _ in range(2)]
    hidden = [torch.randn(batch, HIDDEN) for _ in range(2)]
    generator = torch.Generator().manual_seed(0)

    def unremix(label: str) -> Callable[[Tensor, Tensor], Tensor]:
        settings = track.settings_of(label).model_dump()
        return lambda z1, z2: unremix_loss(Projection(hidden[0], z1), Projection(hidden[1], z2), **settings)

    def mochi(z1: Tensor, z2: Tensor) -> Tensor:
        return mochi_loss(z1, z2, **track.settings_of("mochi").model_dump(), generator=generator)

    losses = {
        "NT-Xent": our_nt_xent,
        "UnReMix": unremix("unremix"),
        "UnReMix standardized": unremix("unremix-standardized"),
        "MoCHi": mochi,
    }
    medians = in_turns({name: forward_backward(loss, *outputs) for name, loss in losses.items()}, seconds)
    shown = ", ".join(f"{name} {milliseconds:.2f} ms" for name, milliseconds in medians.items())
    ratios = ", ".join(f"{name} {medians[name] / medians['NT-Xent']:.2f}" for name in medians if name != "NT-Xent")
    print(f"beside NT-Xent, B = {batch}, D = {dimensions}: {shown}; of NT-Xent's time: {ratios}")


def training_steps(seconds: float, batch: int | None) -> None:
    """Whole steps (augmentation, encoder, loss, backward, Adam) of the preset ``cifar`` on noise."""
    track = load("cifar", ROOT).track("unremix")
    assert isinstance(track, ImageTrack)
    batch = batch or track.training.batch_size
    images = torch.rand(batch, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def step_of(label: str) -> Callable[[], object]:
        torch.manual_seed(0)
        params = track.pretrain(label, "cifar10")
        method = method_class(params.method).from_params(params, (3, 32, 32), 10)
        method.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.Adam(method.parameters(), lr=1e-3)
        generator = torch.Generator().manual_seed(0)

        def step() -> None:
            views = [augment_images(images, params.augment, generator) for _ in range(2)]
            output = method.training_step(Batch(images, views, torch.arange(batch), None), Step(0, 1, 1, generator))
            optimizer.zero_grad()
            output["loss"].backward()
            optimizer.step()

        return step

    medians = in_turns({label: step_of(label) for label in ("simclr", "hcl", "unremix")}, seconds)
    for label, milliseconds in medians.items():
        print(
            f"step of {label}, B = {batch}: {milliseconds:.0f} ms, {milliseconds / medians['simclr']:.3f} of SimCLR's"
        )


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--tiny", action="store_true", help="least sizes, to see that this script works")
    arguments = parser.parse_args()
    seconds, batches, batch = arguments.seconds, [256, 512, 1024], None
    if arguments.tiny:
        seconds, batches, batch = 0.1, [8], 8
    torch.set_num_threads(1)
    peers: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"solo-learn's formula": solo_learn_nt_xent}
    lightly = lightly_nt_xent()
    if lightly is not None:
        peers["lightly"] = lightly
    for size in batches:
        compare("NT-Xent", our_nt_xent, peers, size, seconds)
        compare("hard negatives", our_hcl, {"the authors' code": authors_hcl}, size, seconds)
        for dimensions in (128, 64):
            beside_nt_xent(size, dimensions, seconds)
    training_steps(4 * seconds, batch)


if __name__ == "__main__":
    main()
