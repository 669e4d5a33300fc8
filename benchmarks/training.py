"""CPU milliseconds of one SimCLR training step against lightly's, everything in the main process.

    python benchmarks/training.py [--batch 256] [--width 16] [--rounds 5] [--steps 8] [--tiny]

Same network, batch, optimiser and data (random 32 x 32 colour images); one thread. Ours is the training loop itself:
reading, two views, forward, backward, update, losses read back. lightly's is the loop of its own SimCLR example:
its dataset of PIL images and its transform in a DataLoader without workers, its loss. ``without transforms`` is what
lightly's main process would have left to do if workers made its views for nothing. The sides take turns; medians.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from contrastbench.methods import method_class
from contrastbench.methods.contrastive_base import ContrastiveMethod
from contrastbench.modalities import modality
from contrastbench.params.image_track import ImagePretrainParams
from contrastbench.params.root import load
from contrastbench.training.loop import Examples, train

ROOT = Path(__file__).resolve().parent.parent
SIZE = 32
Step = tuple[float, float]  # CPU seconds of one step: whole, and without making its views


def params_for(arguments: argparse.Namespace) -> ImagePretrainParams:
    """SimCLR as the preset ``cifar`` has it, as large as asked for; every step is read back, as on any CPU."""
    params = load("cifar", ROOT).track("unremix").pretrain("simclr", "cifar10")
    assert isinstance(params, ImagePretrainParams)
    training = {"batch_size": arguments.batch, "max_steps": arguments.steps + 1, "epochs": 1000}
    return params.model_copy(
        update={
            "encoder": params.encoder.model_copy(update={"width": arguments.width}),
            "augment": params.augment.model_copy(update={"blur_probability": 0.5}),
            "training": params.training.model_copy(update=training | {"log_every_steps": 1000}),
        }
    )


def network(params: ImagePretrainParams) -> ContrastiveMethod:
    """The same for both sides."""
    torch.manual_seed(0)
    method = method_class("simclr").from_params(params, (3, SIZE, SIZE), 10)
    assert isinstance(method, ContrastiveMethod)
    return method


def ours(params: ImagePretrainParams, x: np.ndarray) -> Callable[[], list[Step]]:
    """Steps of the training loop."""
    kind = modality("image")
    augment = kind.augmentation(params.augment)

    def steps() -> list[Step]:
        ends, spent = [], [0.0]
        method = network(params)

        def timed(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            begun = time.process_time()
            view = augment(images, generator)
            spent[-1] += time.process_time() - begun
            return view

        def after_step(step: object) -> None:
            ends.append(time.process_time())
            spent.append(0.0)

        method.after_step = after_step  # type: ignore[method-assign]
        examples = Examples(x, None, kind.inputs, timed)
        with tempfile.TemporaryDirectory() as folder:
            train(
                method,
                examples,
                params.training,
                seed=0,
                checkpoint=Path(folder) / "c",
                identity="",
                show_progress=False,
            )
        whole = np.diff(ends)  # from one update to the next; the first step, which fills caches, is left out
        return [(float(taken), float(taken - views)) for taken, views in zip(whole, spent[1:], strict=False)]

    return steps


def lightly(params: ImagePretrainParams, x: np.ndarray) -> Callable[[], list[Step]] | None:
    """Steps of lightly's example; None where the package is not installed."""
    try:
        from lightly.loss import NTXentLoss  # after contrastbench, which makes torchvision importable
        from lightly.transforms import SimCLRTransform
    except ImportError:
        return None
    from PIL import Image

    own = params.augment
    transform = SimCLRTransform(
        input_size=SIZE,
        cj_prob=own.jitter_probability,
        cj_strength=1.0,
        cj_bright=own.brightness,
        cj_contrast=own.contrast,
        cj_sat=own.saturation,
        cj_hue=own.hue,
        min_scale=own.crop_scale[0],
        random_gray_scale=own.grayscale_probability,
        gaussian_blur=own.blur_probability,
        sigmas=own.blur_sigma,
        hf_prob=own.flip_probability,
        normalize=None,  # both networks normalise in their first layer
    )

    class Pictures(Dataset):
        def __len__(self) -> int:
            return len(x)

        def __getitem__(self, index: int) -> list[torch.Tensor]:
            return transform(Image.fromarray(x[index]))

    def steps() -> list[Step]:
        model, criterion = network(params).train(), NTXentLoss(temperature=params.settings.model_dump()["temperature"])
        rate, decay = params.training.learning_rate, params.training.weight_decay
        optimizer = torch.optim.Adam(model.parameters(), lr=rate, weight_decay=decay)
        taken: list[Step] = []
        begun = time.process_time()
        for first, second in endless(DataLoader(Pictures(), params.training.batch_size, shuffle=True, drop_last=True)):
            made = time.process_time()
            loss = criterion(model.project(first).output, model.project(second).output)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            loss.item()
            ended = time.process_time()
            taken.append((ended - begun, ended - made))
            begun = ended
            if len(taken) == params.training.max_steps:
                return taken[1:]
        raise AssertionError("the loader has no end")

    return steps


def endless(loader: DataLoader) -> Iterator[list[torch.Tensor]]:
    """One epoch after another."""
    while True:
        yield from loader


def main() -> None:
    """Let both sides take turns and print medians and ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--tiny", action="store_true", help="least sizes, to see that this script works")
    if parser.parse_args().tiny:
        parser.set_defaults(batch=16, width=4, rounds=1, steps=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    params = params_for(arguments)
    x = np.random.default_rng(0).integers(0, 256, (8 * arguments.batch, SIZE, SIZE, 3), dtype=np.uint8)
    sides = {"contrastbench": ours(params, x), "lightly": lightly(params, x)}
    taken: dict[str, list[Step]] = {name: [] for name, steps in sides.items() if steps is not None}
    for _ in range(arguments.rounds):
        for name in taken:
            taken[name] += sides[name]()  # type: ignore[misc]
    print(f"SimCLR, B = {arguments.batch}, resnet-slim width {arguments.width}, {SIZE} x {SIZE} colour, one thread")
    print(f"{'CPU ms / step':16}{'whole':>10}{'without transforms':>22}")
    medians = {
        name: [1000 * statistics.median(part) for part in zip(*steps, strict=True)] for name, steps in taken.items()
    }
    for name, (whole, rest) in medians.items():
        print(f"{name:16}{whole:10.1f}{rest:22.1f}")
    if "lightly" not in medians:
        print("lightly is not installed: pip install lightly==1.6.0")
        return
    step = medians["contrastbench"][0]
    print(f"lightly / contrastbench, whole steps:           {medians['lightly'][0] / step:.2f}")
    print(f"lightly without transforms / our whole step:    {medians['lightly'][1] / step:.2f}")


if __name__ == "__main__":
    main()
