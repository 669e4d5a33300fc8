"""Classifiers of a trained method: fitted, saved beside the verdicts, loaded again for transfer attacks."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import nn

from contrastbench.datasets.store import Prepared
from contrastbench.errors import UserError
from contrastbench.evaluation.classifiers import Classifier, Training, fine_tuned, robust_linear, standard_linear
from contrastbench.files import reading, write_bytes
from contrastbench.jobs.cache import labelled, read_features
from contrastbench.jobs.runs import load_method
from contrastbench.methods import Method
from contrastbench.modalities import modality_of
from contrastbench.params.robustness import RobustnessParams
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.training.seeds import generator_for


def trained_method(grid: Grid, job: Job, data: Prepared) -> Method:
    """The method whose weights the features of ``job`` come from."""
    params = grid.pretrain_params(job)
    if params is None:
        raise UserError(f"{job.method}: a reference row without an encoder; there is nothing to attack")
    return load_method(grid.weights(job)[0].parent, params, data, job.seed)


def fit_classifier(
    grid: Grid, job: Job, head: str, data: Prepared, method: Method, params: RobustnessParams, device: torch.device
) -> tuple[Classifier, dict]:
    """The classifier called ``head`` on ``device``, and what was chosen for it on validation data."""
    if head == "own":
        return own_classifier(method).to(device), {}
    cached = read_features(grid.layout.run("features", job), data.meta.splits)
    if head == "slf":
        train, validation = (labelled(cached, data, split) for split in ("train", "validation"))
        classifier, chosen = standard_linear(method.encoder, train, validation, params.l2_grid, job.seed)
        return classifier.to(device), chosen
    start = Classifier(method.encoder, nn.Linear(cached["train"].shape[1], len(data.meta.classes))).to(device)
    labels = data.y("train")
    assert labels is not None
    training = Training(data.x("train"), labels, modality_of(data).inputs, device)
    eps = params.budget(job.dataset).main
    generator = generator_for(device, head, job.seed)
    if head == "alf":
        return robust_linear(start, training, params.alf, eps=eps, generator=generator), {}
    return fine_tuned(start, training, params.aff, eps=eps, generator=generator), {}


def own_classifier(method: Method) -> Classifier:
    """The classifier that a supervised method was trained with."""
    head = getattr(method, "classifier", None)
    if not isinstance(head, nn.Linear):
        raise UserError(f"{type(method).__name__} has no linear layer `classifier`; only supervised methods have one")
    return Classifier(method.encoder, head)


def save_classifier(path: Path, classifier: Classifier) -> None:
    """Write the weights of encoder and head."""
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in classifier.state_dict().items()}
    write_bytes(path, save(state))  # save_file would hide a full disk in an error of its own


def load_classifier(path: Path, method: Method) -> Classifier:
    """What :func:`save_classifier` wrote, ready to be attacked: eval mode, no parameter gradients."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; run the stage attack first")
    with reading(path, "classifier of this method", "delete it and run the stage attack again"):
        state = load_file(path)
        classes, features = state["head.weight"].shape
        classifier = Classifier(method.encoder, nn.Linear(features, classes))
        classifier.load_state_dict(state)
    return ready(classifier)


def ready(classifier: Classifier) -> Classifier:
    """Eval mode, no parameter gradients, and the memory format that convolutions are fastest in."""
    classifier.eval().requires_grad_(False)
    return classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
