"""Stage ``head_corruptions``: every classifier that the stage ``attack`` left, on corrupted test images."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from contrastbench.datasets.store import Prepared
from contrastbench.evaluation.classifiers import Classifier
from contrastbench.evaluation.features import extract_features
from contrastbench.jobs.classifiers import FILE, attacked_classifier, load_classifier
from contrastbench.jobs.features_file import check_finite
from contrastbench.jobs.rows import RowWriter
from contrastbench.jobs.runtime import Runtime
from contrastbench.jobs.suite import suite
from contrastbench.jobs.weights import load_trained
from contrastbench.modalities import Stored, modality_of
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.results.protocols import Protocol
from contrastbench.results.rows import Row
from contrastbench.stages.corruptions import Corrupted, choose, write_mean


class Heads(nn.Module):
    """Several classifiers of the same images; those whose encoders have equal weights share one pass of it."""

    def __init__(self, classifiers: Iterable[Classifier]) -> None:
        super().__init__()
        self.encoders, self.heads, self.encoder_of = nn.ModuleList(), nn.ModuleList(), []
        for each in classifiers:
            equal = [have_equal_weights(encoder, each.encoder) for encoder in self.encoders]
            if not any(equal):
                self.encoders.append(each.encoder)
            self.encoder_of.append([*equal, True].index(True))
            self.heads.append(each.head)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) -> logits (B, heads, classes)."""
        features = [encoder(images) for encoder in self.encoders]
        return torch.stack([head(features[at]) for head, at in zip(self.heads, self.encoder_of, strict=True)], dim=1)


def have_equal_weights(one: nn.Module, other: nn.Module) -> bool:
    """Whether two networks of one architecture agree in every parameter and buffer."""
    weights = other.state_dict()
    return all(torch.equal(tensor, weights[name]) for name, tensor in one.state_dict().items())


def head_corruptions(grid: Grid, job: Job, runtime: Runtime) -> list[Row]:
    """Judge a job's classifiers on corrupted images: for every head the rows of the stage ``corruptions``.

    Each image is corrupted once for all heads.
    """
    params, (_, data) = grid.track(job.track).corruptions, suite(grid, job)
    assert params is not None
    rows = RowWriter(grid, "head_corruptions", job, data.meta.hash)
    classifiers = attacked_classifiers(grid, job, data)
    model, modality, labels = Heads(classifiers.values()), modality_of(data), data.y("test")
    assert labels is not None
    stored, chosen = modality.examples(data, "test"), choose(len(labels), params.images, job.dataset)

    def verdicts(images: Stored, what: str) -> np.ndarray:
        """Whether each head is right on each image, (heads, images)."""
        logits = extract_features(model, images, modality.inputs, device=torch.device(runtime.device))
        check_finite({what: logits}, job.name)
        return (logits.argmax(axis=2) == labels[chosen, None]).T

    def corrupted(kind: str, severity: int) -> np.ndarray:
        return verdicts(Corrupted(stored, chosen, kind, severity), f"{kind} at {severity}")

    clean = verdicts(stored[chosen], "clean")
    correct = np.array([[corrupted(kind, severity) for severity in params.severities] for kind in params.kinds])
    for at, head in enumerate(classifiers):
        own = correct[:, :, at]
        rows.accuracy(Protocol(family="corrupted-at", severity=0, head=head), clean[at])
        for number, severity in enumerate(params.severities):
            write_mean(rows, Protocol(family="corrupted-at", severity=severity, head=head), own[:, number], {})
        for number, kind in enumerate(params.kinds):
            write_mean(rows, Protocol(family="corrupted-by", corruption=kind, head=head), own[number], {})
        write_mean(rows, Protocol(family="corrupted", head=head), own.reshape(-1, len(chosen)), {})
    return rows.rows


def attacked_classifiers(grid: Grid, job: Job, data: Prepared) -> dict[str, Classifier]:
    """Every classifier that the stage ``attack`` left for ``job``, by head.

    Those fitted on other weights or data, or with other parameters or code, than asked for are a UserError.
    """
    attacked_classifier(grid, job, data)  # one origin for all in the file
    track, path = grid.track(job.track), grid.layout.run("attack", job) / FILE
    assert track.robustness is not None
    heads = track.robustness.heads_of(track.base_method(job.method), variant=job.method not in track.methods)
    return {head: load_classifier(path, load_trained(grid, job), head) for head in heads}
