"""The robustness suite on a classifier that was trained elsewhere. No step of the pipeline: nothing enters results/."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from contrastbench.datasets.store import Prepared, open_prepared
from contrastbench.errors import UserError
from contrastbench.evaluation.verdicts import PartialStore
from contrastbench.files import file_hash
from contrastbench.jobs.meter import Meter, device_name
from contrastbench.jobs.rows import RowWriter
from contrastbench.jobs.runtime import Runtime
from contrastbench.modalities import modality_of
from contrastbench.models.foreign import Network, foreign_classifier
from contrastbench.params.base import params_hash
from contrastbench.pipeline.fingerprint import fingerprint
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.registry import modality_name
from contrastbench.results.protocols import Protocol
from contrastbench.results.rows import Row
from contrastbench.stages.attack import judge

HEAD = "own"  # the classifier that a model was trained with: it gets every attack


class ForeignRows(RowWriter):
    """Rows about a model that no job of the grid has trained; ``frame`` is what all of them say."""

    def __init__(self, frame: dict[str, Any]) -> None:
        self.frame = frame
        self.rows: list[Row] = []
        self._meter = Meter()

    def value(
        self,
        protocol: Protocol,
        metric: str,
        value: float,
        n: int,
        interval: tuple[float, float] | None = None,
        correct: str | None = None,
        detail: dict | None = None,
        failed: Sequence[str] = (),
    ) -> None:
        """Add one row of any metric; ``failed`` are the sanity checks that it failed."""
        row = Row(
            **self.frame,
            protocol=protocol,
            metric=metric,
            value=value,
            interval=interval,
            n=n,
            wall_s=self._meter.wall_s,
            peak_mb=self._meter.peak_mb,
            correct=correct,
            detail=(detail or {}) | ({"failed_checks": [*failed]} if failed else {}),
        )
        self.rows.append(row)


def attack_model(
    grid: Grid, track: str, dataset: str, weights: Path, network: Network, radius_of: str, seed: int, runtime: Runtime
) -> list[Row]:
    """Judge the classifier in the file ``weights`` on the test images of ``dataset``: a row for each attack.

    Attacks and numbers of images are those of ``track``, radii those of the data set ``radius_of``; ``seed`` says which
    images. The verdicts stay in the checkpoint folder: a killed run continues there, a finished one is told again.
    """
    suite = grid.track(track).robustness
    if suite is None:
        raise UserError(f"track {track!r} has no section `robustness`")
    if modality_name(dataset) != "image":
        raise UserError(f"{dataset}: the robustness suite attacks images")
    params = suite.model_copy(update={"budgets": {dataset: suite.budget(radius_of)}})
    data = open_prepared(grid.layout.prepared(dataset))
    if data.y("test") is None:
        raise UserError(f"{dataset}: the test split has no labels")
    channels, classes = modality_of(data).input_shape(data)[0], len(data.meta.classes)
    classifier = foreign_classifier(weights, network, channels, classes).to(runtime.device)
    _require_outputs(classifier, data, network.architecture, torch.device(runtime.device))
    code, asked = fingerprint("attack_model"), params_hash(params)
    facts = [file_hash(weights), repr(network), str(seed), data.meta.hash, asked, code]
    identity = hashlib.sha256("/".join(facts).encode()).hexdigest()
    rows = ForeignRows(
        {
            "preset": grid.preset,
            "stage": "attack_model",
            "track": track,
            "dataset": dataset,
            "method": weights.stem,
            "base": network.architecture,
            "seed": seed,
            "params_hash": asked,
            "data_hash": data.meta.hash,
            "code_hash": code,
            "device": device_name(runtime.device),
        }
    )
    store = PartialStore(grid.layout.runs / "checkpoints" / "attack-model" / identity[:12], identity)
    job = Job(track, dataset, weights.stem, seed)
    try:
        judge(classifier, HEAD, {}, {}, job, data, params, store, rows, runtime)
    except torch.OutOfMemoryError:
        raise UserError(
            "the GPU is out of memory; lower robustness.batch_size in the preset, or use --device cpu, "
            "and start again: what is finished stays"
        ) from None
    return rows.rows


@torch.no_grad()
def _require_outputs(classifier: nn.Module, data: Prepared, architecture: str, device: torch.device) -> None:
    """Refuse a network that cannot take the images of ``data``, or has not one output for each class."""
    images = modality_of(data).inputs(np.array(data.x("test")[:2]), device)
    size = " x ".join(map(str, images.shape[1:]))
    try:
        output = classifier(images)
    except Exception as error:  # the network's own code may raise anything
        raise UserError(f"{architecture}: cannot take images of {size}: {str(error).partition(chr(10))[0]}") from None
    expected = (len(images), len(data.meta.classes))
    if not isinstance(output, Tensor) or output.shape != expected:
        raise UserError(f"{architecture}: on images of {size} it does not return {expected[1]} numbers for each")
