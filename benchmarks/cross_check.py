"""Our worst case against pyautoattack's standard on the same classifiers and images: which images the two disagree on.

    python benchmarks/cross_check.py [--preset default] [--track swaro] [--dataset mnist5k] [--methods trades swaro]
                                     [--seeds 0] [--radii 0.1 0.2] [--images 100] [--tiny]

Needs a finished stage ``attack`` of the preset in this folder. Each classifier is rebuilt below from its weights alone,
without our models, folding or attacks, and must classify every test image as the stage's verdicts say. An image
*stands in ours* at a radius if none of the stage's l_inf attacks up to that radius broke it; attacks on fewer than
``--images`` images do not count. pyautoattack's ``run_standard_evaluation`` attacks the same images with two seeds.

An image that one seed breaks and the other does not is AutoAttack's own noise. The exit status is 1 where an image
stands in ours that fell with both seeds. Images are named by their position in the test split.
"""

import argparse
import logging
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from re import findall

import numpy as np
import pyautoattack
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional

from contrastbench.params.image_track import ImageTrack
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.registry import WITHOUT_ENCODER

SEEDS = (0, 1)  # AutoAttack's
BATCH = 500
TOLERANCE = 1e-6  # of the radius and the bounds 0 and 1, for rounding


class Rebuilt(nn.Module):
    """A ResNet and a linear head in eval mode, from tensors by name: pixels (B, C, H, W) in [0, 1] to logits.

    ``branch`` is the BatchNorm in use where every layer has two: ``clean`` or ``adversarial``.
    """

    def __init__(self, weights: dict[str, Tensor], stem_stride: int, branch: str) -> None:
        super().__init__()
        self.weights, self.stem_stride, self.branch = weights, stem_stride, branch
        blocks = {name.removesuffix("conv1.weight") for name in weights if name.endswith(".conv1.weight")}
        self.blocks = sorted(
            blocks - {"encoder.trunk."}, key=lambda name: [int(part) for part in findall(r"\d+", name)]
        )
        slim = "encoder.trunk.0.weight" in weights
        self.stem = ("encoder.trunk.0", "encoder.trunk.1") if slim else ("encoder.trunk.conv1", "encoder.trunk.bn1")

    def conv(self, x: Tensor, name: str, stride: int) -> Tensor:
        """A convolution without bias; its padding keeps the size."""
        kernel = self.weights[f"{name}.weight"]
        return functional.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)

    def norm(self, x: Tensor, name: str) -> Tensor:
        """BatchNorm with its running statistics."""
        name = name if f"{name}.weight" in self.weights else f"{name}.{self.branch}"
        mean, variance, scale, shift = (
            self.weights[f"{name}.{part}"].view(1, -1, 1, 1)
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (variance + 1e-5).sqrt() * scale + shift

    def block(self, x: Tensor, name: str) -> Tensor:
        """A residual block of two or three convolutions; the one of 3 x 3 that comes first has the stride, if any."""
        bottleneck = f"{name}conv3.weight" in self.weights
        # torchvision's stages halve the size in their first block, but for the first stage; so does the slim ResNet.
        stride = 2 if f"{name}downsample.0.weight" in self.weights and name not in self.blocks[:1] else 1
        strides = (1, stride, 1) if bottleneck else (stride, 1)
        out = x
        for number, step in enumerate(strides, 1):
            out = self.norm(self.conv(out, f"{name}conv{number}", step), f"{name}bn{number}")
            out = out.relu() if number < len(strides) else out
        if f"{name}downsample.0.weight" in self.weights:
            x = self.norm(self.conv(x, f"{name}downsample.0", stride), f"{name}downsample.1")
        return (out + x).relu()

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes)."""
        x = (images - self.weights["encoder.normalize.mean"]) / self.weights["encoder.normalize.std"]
        x = self.norm(self.conv(x, self.stem[0], self.stem_stride), self.stem[1]).relu()
        for name in self.blocks:
            x = self.block(x, name)
        return functional.linear(x.mean((2, 3)), self.weights["head.weight"], self.weights["head.bias"])


def read_weights(path: Path, head: str) -> dict[str, Tensor]:
    """The tensors of one head's classifier, encoder included."""
    with safe_open(path, "pt") as file:
        names = [name for name in file.keys() if name.startswith(f"{head}/")]  # noqa: SIM118, it is no dictionary
        return {name.removeprefix(f"{head}/"): file.get_tensor(name) for name in names}


def our_worst_case(verdicts: dict[str, np.ndarray], head: str, eps: float, count: int) -> np.ndarray:
    """(n,) bool: which of the first images, at most ``count``, no l_inf attack up to ``eps`` that saw them all broke.

    ``verdicts`` holds an array ``HEAD/ATTACK@EPS/broken`` for each attack. An attack of another norm says so.
    """
    found = {}
    for key, broken in verdicts.items():
        name, _, field = key.removeprefix(f"{head}/").rpartition("/")
        attack, _, at = name.partition("@")
        if field == "broken" and key.startswith(f"{head}/") and at and not attack.endswith(("-l1", "-l2")):
            found[name] = float(at), broken
    at_eps = [len(broken) for radius, broken in found.values() if np.isclose(radius, eps, rtol=1e-3)]
    count = min(count, max(at_eps, default=0))
    robust = ~verdicts[f"{head}/clean/broken"][:count]
    for radius, broken in found.values():
        if radius <= eps * 1.001 and len(broken) >= count:  # names round radii to four digits
            robust &= ~broken[:count]
    return robust


def standard(model: nn.Module, images: Tensor, labels: Tensor, eps: float, seed: int, tiny: bool) -> np.ndarray:
    """(n,) bool: which images pyautoattack's standard l_inf evaluation leaves; its images are checked here."""
    attack = pyautoattack.AutoAttack(model, norm="Linf", eps=eps, seed=seed, version="standard", device="cpu")
    if tiny:
        attack.apgd.n_iter = attack.apgd_targeted.n_iter = attack.fab.n_iter = 3
        attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = 1
        attack.square.n_queries = 20
    adversarial, _ = attack.run_standard_evaluation(images, labels, batch_size=BATCH)
    inside = (adversarial - images).abs().amax((1, 2, 3)) <= eps + TOLERANCE
    inside &= (adversarial.amin((1, 2, 3)) >= -TOLERANCE) & (adversarial.amax((1, 2, 3)) <= 1 + TOLERANCE)
    assert inside.all(), "pyautoattack left the ball"
    with torch.no_grad():
        return (model(adversarial).argmax(1) == labels).numpy()


def rebuilt(path: Path, head: str, stem_stride: int, agrees: Callable[[nn.Module], bool]) -> nn.Module:
    """The classifier that ``agrees`` with the stage's verdicts on clean images.

    The file does not say which of two BatchNorms its method uses.
    """
    for branch in ("clean", "adversarial"):
        model = Rebuilt(read_weights(path, head), stem_stride, branch).eval()
        if agrees(model):
            return model
    sys.exit(f"{path}: {head}, rebuilt, classifies other clean images correctly than the verdicts beside it say")


def listed(positions: Iterable[int]) -> str:
    """Positions in the test split, for a line of output."""
    return " ".join(map(str, positions)) or "none"


def compare(grid: Grid, job: Job, radii: Sequence[float], images: int, head: str | None, tiny: bool) -> int:
    """Print who disagrees on one trained method; returns how many images stand in ours that fell with every seed."""
    folder = grid.layout.run("attack", job)
    verdicts = dict(np.load(folder / "verdicts.npz"))
    head = head or next(iter(verdicts)).partition("/")[0]
    data = grid.layout.prepared(job.judged)
    x, y = np.load(data / "test_x.npy"), np.load(data / "test_y.npy")
    order = np.random.default_rng(job.seed).permutation(len(y))  # as evaluation/verdicts.py says
    pixels = torch.from_numpy(x[order]).permute(0, 3, 1, 2).float().div(255).contiguous()
    labels = torch.from_numpy(y[order])

    @torch.no_grad()
    def agrees(model: nn.Module) -> bool:
        predicted = torch.cat([model(part).argmax(1) for part in pixels.split(BATCH)])
        return bool(np.array_equal((predicted != labels).numpy(), verdicts[f"{head}/clean/broken"]))

    track = grid.track(job.track)
    assert isinstance(track, ImageTrack)
    encoder = track.sections_of(job.method)["encoder"]
    model = rebuilt(folder / "classifiers.safetensors", head, encoder.stem_stride, agrees)
    beyond = 0
    for eps in radii:
        ours = our_worst_case(verdicts, head, eps, images)
        n, begun = len(ours), time.perf_counter()
        if not n:
            sys.exit(f"{folder}: no l_inf attack at {eps:g}")
        first, second = (standard(model, pixels[:n], labels[:n], eps, seed, tiny) for seed in SEEDS)
        here = order[:n]
        missed = here[ours & ~first & ~second]
        beyond += len(missed)
        print(
            f"{job.method} {head}, seed {job.seed}, eps {eps:g}, {n} images: ours leaves {ours.mean():.1%}, "
            f"pyautoattack {first.mean():.1%} and {second.mean():.1%} ({time.perf_counter() - begun:.0f} s)"
        )
        print(f"  stand in ours, fell there:    {len(missed)}: {listed(missed)}")
        print(f"  the same, with one seed only: {listed(here[ours & (first ^ second)])}")
        print(f"  fell in ours, stand there:    {listed(here[~ours & (first | second)])}")
        print(f"  its seeds disagree:           {listed(here[first ^ second])}", flush=True)
    return beyond


def main() -> None:
    """Compare every classifier that is asked for; the exit status says whether ours leaves images that fall."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", default="default")
    parser.add_argument("--track", default="swaro")
    parser.add_argument("--dataset", help="default: the track's first")
    parser.add_argument("--methods", nargs="+", help="default: the track's")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--radii", type=float, nargs="+", help="default: l_inf radii of the data set")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--head", help="slf, alf, aff or own; default: the one that gets every attack")
    parser.add_argument("--tiny", action="store_true", help="least sizes, to see that this script works")
    if parser.parse_args().tiny:
        parser.set_defaults(preset="smoke", methods=["supervised"], radii=[0.3], images=4)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("auto-attack").setLevel(logging.ERROR)
    grid = Grid(arguments.preset)
    track = grid.track(arguments.track)
    assert isinstance(track, ImageTrack) and track.robustness is not None
    dataset = arguments.dataset or track.datasets[0]
    radii = arguments.radii or track.robustness.budget(dataset).linf
    beyond = 0
    for method in arguments.methods or [name for name in track.methods if name not in WITHOUT_ENCODER]:
        for seed in arguments.seeds:
            job = Job(arguments.track, dataset, method, seed)
            if not (grid.layout.run("attack", job) / "verdicts.npz").is_file():
                print(
                    f"no verdicts on {job.name} here; run `snakemake --cores all --config preset={grid.preset}` first"
                )
                sys.exit(0 if arguments.tiny else 2)
            beyond += compare(grid, job, radii, arguments.images, arguments.head, arguments.tiny)
    print(f"images that stand in ours and fell with every seed of pyautoattack: {beyond}")
    sys.exit(int(beyond > 0))


if __name__ == "__main__":
    main()
