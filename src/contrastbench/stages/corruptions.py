"""Stage ``corruptions``: the linear probe's classifier on corrupted test images."""

from dataclasses import dataclass

import numpy as np
import torch

from contrastbench.errors import UserError
from contrastbench.evaluation.corruptions import corrupt
from contrastbench.evaluation.features import extract_features
from contrastbench.evaluation.intervals import mean_interval
from contrastbench.evaluation.labelled import Labelled, is_correct
from contrastbench.evaluation.linear_probe import fit_linear
from contrastbench.jobs.features_file import check_finite, labelled, read_features
from contrastbench.jobs.rows import RowWriter
from contrastbench.jobs.runtime import Runtime
from contrastbench.jobs.weights import load_trained, training_data
from contrastbench.modalities import Stored, modality_of
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.results.protocols import Protocol
from contrastbench.results.rows import Row, pack_correct
from contrastbench.training.seeds import seed_for


@dataclass(frozen=True)
class Corrupted:
    """Stored images, corrupted when they are read; the image at position p of the split is always corrupted alike."""

    images: Stored
    positions: np.ndarray
    kind: str
    severity: int

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        """uint8 (B, H, W, C)."""
        positions = self.positions[index]
        return corrupt(self.images[positions], self.kind, self.severity, positions)


def corruptions(grid: Grid, job: Job, runtime: Runtime) -> list[Row]:
    """Judge a job's encoder on corrupted images: a row for each severity, each kind, and all of them.

    The classifier is fitted on features of clean images, as the linear probe does it.
    """
    track = grid.track(job.track)
    params = track.corruptions
    assert params is not None
    data = training_data(grid, job)
    rows = RowWriter(grid, "corruptions", job, data.meta.hash)
    features = read_features(grid, job, data)
    train, validation, test = (labelled(features, data, split) for split in ("train", "validation", "test"))
    classifier, strength, accuracy = fit_linear(train, validation, track.probe.l2_grid, device=runtime.device)
    chosen = choose(len(test.labels), params.images, job.dataset)
    method, modality = load_trained(grid, job), modality_of(data)

    def verdicts(kind: str, severity: int) -> np.ndarray:
        images = Corrupted(modality.examples(data, "test"), chosen, kind, severity)
        found = extract_features(method.encoder, images, modality.inputs, device=torch.device(runtime.device))
        check_finite({f"{kind} at {severity}": found}, job.name)
        return is_correct(classifier, Labelled(found, test.labels[chosen]))

    correct = np.array([[verdicts(kind, severity) for severity in params.severities] for kind in params.kinds])
    about = {"C": strength, "validation_accuracy": accuracy}
    clean = is_correct(classifier, Labelled(test.features[chosen], test.labels[chosen]))
    rows.accuracy(Protocol(family="corrupted-at", severity=0), clean, about)
    for number, severity in enumerate(params.severities):
        write_mean(rows, Protocol(family="corrupted-at", severity=severity), correct[:, number], about)
    for number, kind in enumerate(params.kinds):
        write_mean(rows, Protocol(family="corrupted-by", corruption=kind), correct[number], about)
    write_mean(rows, Protocol(family="corrupted"), correct.reshape(-1, len(chosen)), about)
    return rows.rows


def choose(count: int, wanted: int | None, dataset: str) -> np.ndarray:
    """Sorted positions of ``wanted`` of ``count`` test images (None: all), the same for every method and seed."""
    if wanted is None:
        return np.arange(count)
    if wanted > count:
        has = f"the test split of {dataset} has {count}; null takes all"
        raise UserError(f"corruptions.images: {wanted} images asked for, {has}")
    return np.sort(np.random.default_rng(seed_for("corrupted images", dataset)).permutation(count)[:wanted])


def write_mean(rows: RowWriter, protocol: Protocol, correct: np.ndarray, about: dict[str, float]) -> None:
    """The row of ``correct`` (corruptions, images), whose corruptions are fixed and whose images are a sample.

    Its interval is that of the mean over images. It holds the verdicts of one corruption after another, as of several
    draws on the same images.
    """
    value, (low, high) = mean_interval(correct.mean(axis=0))
    detail = about | {"draws": correct.mean(axis=1).tolist()}
    rows.value(
        protocol, "top1", value, correct.size, (max(low, 0.0), min(high, 1.0)), pack_correct(correct.ravel()), detail
    )
