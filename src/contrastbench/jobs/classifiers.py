"""Classifiers of a trained method: fitted, saved beside the verdicts, loaded again for transfer attacks."""

import hashlib
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from contrastbench.attacks.folding import folded
from contrastbench.datasets.store import Prepared
from contrastbench.errors import UserError
from contrastbench.evaluation.classifiers import (
    CLEAN,
    ROBUST,
    Classifier,
    LabelledImages,
    fine_tuned,
    robust_accuracy,
    robust_linear,
    standard_linear,
)
from contrastbench.evaluation.features import extract_features
from contrastbench.evaluation.labelled import Labelled
from contrastbench.evaluation.lpaft import post_processed
from contrastbench.files import file_hash, reading, write_bytes
from contrastbench.jobs.features_file import labelled, read_features
from contrastbench.jobs.weights import load_trained
from contrastbench.methods import Method
from contrastbench.modalities import modality_of
from contrastbench.params.base import params_hash
from contrastbench.params.robustness import RobustnessParams
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.training.seeds import generator_for

FILE = "classifiers.safetensors"
ORIGIN = "made_from"  # beside the weights
Model = TypeVar("Model", bound=nn.Module)


def fit_classifier(
    grid: Grid, job: Job, head: str, data: Prepared, method: Method, params: RobustnessParams, device: torch.device
) -> tuple[Classifier, dict]:
    """The classifier called ``head`` of a job's method on ``device``, and what was chosen for it on validation data.

    Data of one class, or without a training image of some class, are a UserError.
    """
    if head == "own":
        require_classes(data)
        return own_classifier(method).to(device), {}
    train = labelled(read_features(grid, job, data), data, "train")
    return fit_head(job, head, data, method.encoder, train, params, device)


def require_classes(data: Prepared) -> None:
    """Refuse data of one class, or without a training image of some class."""
    classes, labels = data.meta.classes, data.y("train")
    assert labels is not None
    if len(classes) < 2:
        raise UserError(f"{data.folder}: all images are of the class {classes[0]!r}; a classifier needs two classes")
    if missing := sorted(set(range(len(classes))) - set(np.asarray(labels).tolist())):
        raise UserError(
            f"{data.folder}: no training image of the class {classes[missing[0]]!r}; a classifier needs some"
        )


def fit_head(
    job: Job,
    head: str,
    data: Prepared,
    encoder: nn.Module,
    train: Labelled,
    params: RobustnessParams,
    device: torch.device,
) -> tuple[Classifier, dict]:
    """A new classifier of ``data`` on ``encoder``, whose features of the training images are ``train``.

    The returned dict says what was chosen for it on validation data.
    """
    require_classes(data)
    if head == "slf":
        return withstanding_best(job, encoder, train, data, params, device)
    training = _images(data, "train", device)
    eps = params.budget(job.dataset).main
    generator = generator_for(device, head, job.seed)
    if head == "lpaft":
        encoder = post_processed(
            encoder, training.x, training.inputs, params.lpaft, eps=eps, seed=job.seed, generator=generator
        )
        features = extract_features(encoder, training.x, training.inputs, device=device)
        return withstanding_best(job, encoder, Labelled(features, np.asarray(training.y)), data, params, device)
    start = Classifier(encoder, nn.Linear(train.features.shape[1], len(data.meta.classes))).to(device)
    if head == "alf":
        return robust_linear(start, training, params.alf, eps=eps, generator=generator), {}
    return fine_tuned(start, training, params.aff, eps=eps, generator=generator), {}


def withstanding_best(
    job: Job, encoder: nn.Module, train: Labelled, data: Prepared, params: RobustnessParams, device: torch.device
) -> tuple[Classifier, dict]:
    """The standard linear classifier on ``encoder``, whose features of the training images are ``train``.

    Of the grid of strengths it has the one with the highest accuracy under PGD on the first ``images.validation``
    validation images, at the data set's main radius. What was chosen: C, both accuracies, and ``by_C``, which holds
    (clean, under PGD) for every C.
    """
    validation = _images(data, "validation", device)
    images, labels = validation.batch(validation.first(params.images.validation))
    eps = params.budget(job.dataset).main

    def judge(classifier: Classifier) -> dict[str, float]:
        return robust_accuracy(
            folded(ready(classifier.to(device)), images[:64]),
            images,
            labels,
            eps=eps,
            step_size=params.steps.step_fraction * eps,
            steps=params.steps.pgd,
            generator=generator_for(device, "validation", job.seed),  # every C meets the same random starts
            batch_size=params.batch_size,
        )

    classifier, best, scores = standard_linear(encoder, train, params.l2_grid, job.seed, judge, by=ROBUST)
    by_strength = {f"{strength:g}": [score[CLEAN], score[ROBUST]] for strength, score in scores.items()}
    return classifier, {"C": best, **scores[best], "by_C": by_strength}


def _images(data: Prepared, split: str, device: torch.device) -> LabelledImages:
    labels = data.y(split)
    assert labels is not None
    return LabelledImages(data.x(split), labels, modality_of(data).inputs, device)


def own_classifier(method: Method) -> Classifier:
    """The classifier that a supervised method was trained with."""
    head = getattr(method, "classifier", None)
    if not isinstance(head, nn.Linear):
        raise UserError(f"{type(method).__name__} has no linear layer `classifier`; only supervised methods have one")
    return Classifier(method.encoder, head)


def state_of(classifier: nn.Module) -> dict[str, Tensor]:
    """The weights of encoder and head, on the CPU."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in classifier.state_dict().items()}


def origin_of_classifiers(grid: Grid, job: Job, data: Prepared) -> str:
    """What a job's classifiers and the verdicts on them depend on, as one hash: weights, data, parameters and code."""
    params = grid.track(job.track).robustness
    assert params is not None
    weights = file_hash(grid.trained(job) / "model.safetensors")
    facts = [weights, data.meta.hash, params_hash(params.on(job.dataset, job.dataset)), grid.asked_code("attack", job)]
    return hashlib.sha256("/".join(facts).encode()).hexdigest()


def save_classifiers(path: Path, classifiers: dict[str, dict[str, Tensor]], origin: str) -> None:
    """Write the weights (:func:`state_of`) of several heads into one file, the first one first."""
    state = {f"{head}/{name}": tensor for head, own in classifiers.items() for name, tensor in own.items()}
    write_bytes(path, save(state, {ORIGIN: origin}))  # save_file would hide a full disk


def load_classifier(path: Path, method: Method, head: str) -> Classifier:
    """One of what :func:`save_classifiers` wrote, ready to be attacked: eval mode, no parameter gradients."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; run the stage attack first")
    with reading(path, "file of this method's classifiers", "delete it and run the stage attack again"):
        state = {
            name.removeprefix(f"{head}/"): tensor
            for name, tensor in load_file(path).items()
            if name.startswith(f"{head}/")
        }
        classes, features = state["head.weight"].shape
        classifier = Classifier(method.encoder, nn.Linear(features, classes))
        classifier.load_state_dict(state)
    return ready(classifier)


def attacked_classifier(grid: Grid, job: Job, data: Prepared) -> Classifier:
    """The first classifier that the stage ``attack`` left for ``job``: the one that transfer judges.

    One that was fitted on other weights or data, or with other parameters or code, than asked for is a UserError.
    """
    params, path = grid.track(job.track).robustness, grid.layout.run("attack", job) / FILE
    assert params is not None
    head = params.heads_of(grid.track(job.track).base_method(job.method))[0]
    classifier = load_classifier(path, load_trained(grid, job), head)
    with safe_open(path, "pt") as file:
        origin = (file.metadata() or {}).get(ORIGIN)
    if origin != origin_of_classifiers(grid, job, data):
        raise UserError(
            f"{path}: fitted with other weights, data, parameters or code than those asked for; "
            f"run `contrastbench attack {job.name} --preset {grid.preset}`"
        )
    return classifier


def ready(classifier: Model) -> Model:
    """Eval mode, no parameter gradients, and the memory format that convolutions are fastest in."""
    classifier.eval().requires_grad_(False)
    return classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
