"""How much of a GPU training uses: our loop against a bare loop of the same network; then three methods, trained.

    python benchmarks/gpu.py [--seconds 300] [--batch 512] [--json gpu.json] [--device cuda] [--tiny]

``bare``: forward, backward and update of SimCLR's network on random tensors that lie on the device, nothing else.
``ours``: the training loop on stored images of CIFAR-10's size: reading, two views, loss, log. The goal is a ratio of
at least 0.8. Then SimCLR, HCL and UnReMix are trained for the same number of epochs, as many as fit into what is left
of ``--seconds``, and judged by their nearest neighbours. All as the preset ``gpu`` says (ResNet-18, bfloat16).
Images are those of data/prepared/cifar10, all or as many as lie there, or random ones in ten kinds where that folder is
absent. The result is written as JSON. ``--tiny`` shows in a few seconds that it runs, not how fast.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from contrastbench.datasets.store import open_prepared
from contrastbench.evaluation.features import extract_features
from contrastbench.evaluation.knn import fit_knn
from contrastbench.evaluation.labelled import Labelled, is_correct
from contrastbench.methods import method_class
from contrastbench.methods.contrastive_base import ContrastiveMethod
from contrastbench.modalities import modality
from contrastbench.params.image_track import ImagePretrainParams
from contrastbench.params.root import load
from contrastbench.params.training import TrainingParams
from contrastbench.training.engine import engine_for
from contrastbench.training.loop import Examples, train
from contrastbench.training.optimizers import build_optimizer

ROOT = Path(__file__).resolve().parent.parent
METHODS = ("simclr", "hcl", "unremix")
ROUNDS = 3
RESERVE = 0.75  # of the time left for training, which judging and loading must not overrun

Split = tuple[np.ndarray, np.ndarray]  # images uint8 (N, 32, 32, 3), class numbers (N,)


def images(count: int, tests: int) -> tuple[str, Split, Split]:
    """What the images are, those to train on and those to judge by: so many, or fewer where there are not as many."""
    folder, sizes = ROOT / "data/prepared/cifar10", {"train": count, "test": tests}
    if (folder / "meta.json").is_file():
        data = open_prepared(folder)
        first = {split: (data.x(split)[:n], np.asarray(data.y(split))[:n]) for split, n in sizes.items()}
        return "CIFAR-10", first["train"], first["test"]
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 256, (10, 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2)

    def split(size: int) -> Split:
        y = rng.integers(0, 10, size)
        noise = rng.integers(-60, 61, (size, 32, 32, 3), dtype=np.int16)
        return np.clip(kinds[y] + noise, 0, 255).astype(np.uint8), y

    return "random", split(count), split(tests)


def fresh(params: ImagePretrainParams) -> ContrastiveMethod:
    """A method with new weights."""
    torch.manual_seed(0)
    method = method_class(params.method).from_params(params, (3, 32, 32), 10)
    assert isinstance(method, ContrastiveMethod)
    return method


def wait(device: str) -> float:
    """The time when the device has done all its work."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def bare(params: ImagePretrainParams, steps: int, warm: int, device: str) -> float:
    """Images/s of the network alone; an image is two views of one."""
    method = fresh(params).train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    engine = engine_for(device, params.training.precision)
    generator = torch.Generator(engine.device).manual_seed(0)
    shape = (params.training.batch_size, 3, 32, 32)
    views = [torch.rand(shape, generator=generator, device=engine.device) for _ in range(2)]

    def project(batch: Any, number: Any) -> dict[str, torch.Tensor]:
        return {"loss": sum(method.project(view).output.square().mean() for view in views)}  # type: ignore[dict-item]

    method.training_step = project  # type: ignore[method-assign,assignment]
    step, optimizer = engine.setup(method, build_optimizer(method, params.training))
    begun = 0.0
    for number in range(warm + steps):
        if number == warm:
            begun = wait(device)
        loss = step(None, None)["loss"]  # type: ignore[arg-type]
        optimizer.zero_grad(set_to_none=True)
        engine.backward(loss)
        optimizer.step()
    return params.training.batch_size * steps / (wait(device) - begun)


def ours(params: ImagePretrainParams, x: np.ndarray, steps: int, warm: int, device: str) -> float:
    """Images/s of the training loop."""
    method, begun = fresh(params), [0.0]

    def after_step(step: Any) -> None:
        if step.number == warm - 1:
            begun[0] = wait(device)

    method.after_step = after_step  # type: ignore[method-assign]
    fit(method, params, params.training.model_copy(update={"max_steps": warm + steps}), (x, None), device)
    return params.training.batch_size * steps / (wait(device) - begun[0])


def fit(
    method: ContrastiveMethod,
    params: ImagePretrainParams,
    training: TrainingParams,
    data: tuple[np.ndarray, np.ndarray | None],
    device: str,
) -> None:
    """Train ``method`` on images and, for its log, their labels."""
    kind = modality("image")
    examples = Examples(*data, kind.inputs, kind.augmentation(params.augment))
    with tempfile.TemporaryDirectory() as folder:
        train(
            method,
            examples,
            training,
            seed=0,
            checkpoint=Path(folder) / "checkpoint",
            identity="",
            device=device,
            show_progress=False,
        )


def accuracy(method: ContrastiveMethod, train: Split, test: Split, track: Any, device: str) -> float:
    """Share of test images whose nearest training images are of their class."""
    inputs, on = modality("image").inputs, torch.device(device)
    fitted, judged = (Labelled(extract_features(method.encoder, x, inputs, device=on), y) for x, y in (train, test))
    probe = track.probe
    knn = fit_knn(fitted, neighbours=probe.knn_neighbours, temperature=probe.knn_temperature, device=device)
    return float(is_correct(knn, judged).mean())


def main() -> None:
    """Measure both loops in turns, train what fits into the time, and write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--json", type=Path, default=Path("gpu.json"))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tiny", action="store_true", help="least sizes, to see that this script works")
    if parser.parse_args().tiny:
        parser.set_defaults(batch=16, seconds=1.0, json=None)
    arguments = parser.parse_args()
    begun = time.perf_counter()
    track: Any = load("gpu", ROOT).track("unremix")
    count, tests, steps, warm, changes = 45_000, 10_000, 100, 20, {}
    if arguments.tiny:
        count, tests, steps, warm = 64, 32, 2, 1
        changes = {"encoder": track.encoder.model_copy(update={"width": 4})}
    kind, train_split, test_split = images(count, tests)
    cases: dict[str, ImagePretrainParams] = {}
    for name in METHODS:
        params = track.pretrain(name, "cifar10")
        training = params.training.model_copy(update={"batch_size": arguments.batch, "epochs": 10_000})
        cases[name] = params.model_copy(update=changes | {"training": training})

    simclr, device = cases["simclr"], arguments.device
    rates: dict[str, list[float]] = {"bare": [], "ours": []}
    for _ in range(ROUNDS):
        rates["bare"].append(bare(simclr, steps, warm, device))
        rates["ours"].append(ours(simclr, train_split[0], steps, warm, device))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    ratio = medians["ours"] / medians["bare"]

    each = RESERVE * (arguments.seconds - (time.perf_counter() - begun)) / len(METHODS)
    of_epoch = len(train_split[0]) // arguments.batch * arguments.batch
    epochs = max(1, int(each * medians["ours"] / of_epoch))
    trained = {}
    for name, params in cases.items():
        method, since = fresh(params), time.perf_counter()
        fit(method, params, params.training.model_copy(update={"epochs": epochs}), train_split, device)
        taken = wait(device) - since
        trained[name] = {
            "seconds": round(taken, 1),
            "images_per_s": round(epochs * of_epoch / taken),
            "knn_accuracy": accuracy(method, train_split, test_split, track, device),
        }
    result = {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "torch": torch.__version__,
        "images": kind,
        "train_images": len(train_split[0]),
        "test_images": len(test_split[0]),
        "batch": arguments.batch,
        "precision": simclr.training.precision,
        "bare_images_per_s": [round(value) for value in rates["bare"]],
        "ours_images_per_s": [round(value) for value in rates["ours"]],
        "ratio": round(ratio, 3),
        "epochs": epochs,
        "trained": trained,
        "seconds": round(time.perf_counter() - begun, 1),
    }
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"{result['device']}, {kind} images, B = {arguments.batch}, {simclr.training.precision}")
    print(f"{len(train_split[0]):,} images to train on and {len(test_split[0]):,} to judge by")
    print(f"bare loop: {medians['bare']:,.0f} images/s; ours: {medians['ours']:,.0f}; ratio {ratio:.2f}")
    for name, found in trained.items():
        print(f"{name}: {epochs} epochs in {found['seconds']} s, kNN {found['knn_accuracy']:.3f}")


if __name__ == "__main__":
    main()
