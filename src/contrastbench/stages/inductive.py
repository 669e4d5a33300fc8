"""Stage ``inductive``: the protocols of folds, with encoders that have seen their training parts alone."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from contrastbench.datasets.store import Prepared
from contrastbench.evaluation.features import extract_features
from contrastbench.evaluation.folds import Fold, FoldVerdicts, stratified_folds, svm
from contrastbench.evaluation.labelled import Labelled
from contrastbench.evaluation.linear_probe import linear_probe
from contrastbench.jobs.examples import examples_for
from contrastbench.jobs.features_file import check_finite
from contrastbench.jobs.meter import device_name
from contrastbench.jobs.rows import RowWriter
from contrastbench.jobs.runtime import Runtime
from contrastbench.jobs.weights import build_method, required_params, training_data
from contrastbench.modalities import Stored
from contrastbench.params.base import params_hash
from contrastbench.params.evaluation import ScratchParams
from contrastbench.params.graph_track import GraphTrack
from contrastbench.params.training import TrainingParams
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.results.protocols import Protocol
from contrastbench.results.rows import Row
from contrastbench.training.checkpoint import load_checkpoint, save_checkpoint
from contrastbench.training.loop import train


@dataclass(frozen=True)
class Chosen:
    """The stored examples at sorted ``positions``, as if there were no others."""

    stored: Stored
    positions: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: np.ndarray) -> Any:
        """The examples at sorted positions ``index`` among the chosen ones."""
        return self.stored[self.positions[index]]


def inductive(grid: Grid, job: Job, runtime: Runtime) -> list[Row]:
    """Judge an encoder for each fold of a seed: a row for each protocol, with a verdict on every graph.

    All are trained with the job's seed and parameters. A killed run continues from the last checkpoint of the fold that
    it was at.
    """
    section = grid.track(job.track)
    assert isinstance(section, GraphTrack)
    data = training_data(grid, job)
    rows = RowWriter(grid, "inductive", job, data.meta.hash)
    rows.device, rows.warnings = device_name(runtime.device), []  # of its own encoders, not of the one that saw all
    labels = np.asarray(data.y("train"))
    folds = stratified_folds(labels, section.folds, job.seed, data.meta)
    kept = grid.layout.run("checkpoints", job) / "inductive"
    by_svm, by_probe = [], []
    for number, fold in enumerate(folds):
        trained = _trained(grid, job, runtime, data, fold, kept / f"{params_hash(section.folds)}-{number}")
        rows.warnings += [f"fold {number}: {warning}" for warning in trained["warnings"]]
        features = trained["features"].numpy()
        by_svm.append(svm(features, labels, fold, section.folds))
        parts = fold.parts(Labelled(features, labels), section.folds.inner)
        by_probe.append(linear_probe(*parts, section.probe.l2_grid, device=runtime.device))
    for family, results in (("inductive-svm", by_svm), ("inductive-linear", by_probe)):
        found = FoldVerdicts.of(folds, results)
        rows.accuracy(Protocol(family=family), found.correct, found.detail)
    shutil.rmtree(kept)
    return rows.rows


def _trained(grid: Grid, job: Job, runtime: Runtime, data: Prepared, fold: Fold, kept: Path) -> dict[str, Any]:
    """The ``features`` (N, D) of all graphs by an encoder of the fold's training part, and its training's ``warnings``.

    Files named ``kept`` hold its training's checkpoint and, once it is done, all of this.
    """
    params = required_params(grid, job)
    assert isinstance(params, ScratchParams)
    identity = "-".join([params_hash(params), grid.code("inductive", job), data.contents])
    done = load_checkpoint(kept.with_suffix(".features"), identity)
    if done is None:
        method = build_method(params, data, job.seed)
        examples, warnings = examples_for(method, data, params.augment), []
        if method.trains:
            assert examples.y is not None
            part = replace(examples, x=Chosen(examples.x, fold.train), y=examples.y[fold.train])
            warnings = train(
                method,
                part,
                equal_batches(_published_training(grid, job), len(fold.train)),
                seed=job.seed,
                checkpoint=kept.with_suffix(".pt"),
                identity=identity,
                device=runtime.device,
                show_progress=runtime.show_progress,
            ).warnings
        features = extract_features(method.encoder, examples.x, examples.inputs, device=torch.device(runtime.device))
        check_finite({"train": features}, job.name)
        done = {"identity": identity, "features": torch.from_numpy(features), "warnings": warnings}
        save_checkpoint(kept.with_suffix(".features"), done)
    return done


def _published_training(grid: Grid, job: Job) -> TrainingParams:
    """The training of a job's method with the size of batches that holds for any data set."""
    params = grid.track(job.track).pretrain(job.method, "")
    assert isinstance(params, ScratchParams)
    return params.training


def equal_batches(params: TrainingParams, count: int) -> TrainingParams:
    """``params``, with the published size of batches, for ``count`` examples.

    As many batches as a loader makes that keeps a last, smaller one, but of equal size, because the training loop skips
    what does not fill a batch.
    """
    batches = -(-count // params.batch_size)
    return params.model_copy(update={"batch_size": count // batches})
