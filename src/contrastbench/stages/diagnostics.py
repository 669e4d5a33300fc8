"""Stage ``diagnostics``: how far a contrastive loss is from NT-Xent, and which negatives it weights most."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from contrastbench.files import reading
from contrastbench.jobs.rows import RowWriter
from contrastbench.jobs.runtime import Runtime
from contrastbench.jobs.weights import build_method, load_trained, required_params, training_data
from contrastbench.methods.contrastive_base import ContrastiveMethod
from contrastbench.methods.two_views import TwoViews
from contrastbench.modalities import modality_of
from contrastbench.models.heads import Projection
from contrastbench.objectives.diagnostics import effective_negatives, false_negative_rate
from contrastbench.objectives.unremix import fill_others
from contrastbench.params.evaluation import ScratchParams
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.results.protocols import Protocol
from contrastbench.results.rows import Row
from contrastbench.training.seeds import generator_for, seed_for

METRIC_OF = {"gradient-cosine": "cosine", "gradient-norm-ratio": "norm-ratio", "gradient-cosine-best": "cosine"}


def diagnostics(grid: Grid, job: Job, runtime: Runtime) -> list[Row]:
    """Rows of the gradients that training logged, and of the negatives that the loss weights on the common encoder."""
    rows = RowWriter(grid, "diagnostics", job, training_data(grid, job).meta.hash)
    of_gradients(grid, job, rows)
    of_negatives(grid, job, rows, torch.device(runtime.device))
    return rows.rows


def of_gradients(grid: Grid, job: Job, rows: RowWriter) -> None:
    """Means over the logged steps; nothing of NT-Xent itself, nor where training saw no labels and logged nothing.

    A mean cosine below 0, of a loss that works against NT-Xent, counts as 0.
    """
    path = grid.root / grid.trained(job) / "history.csv"
    with reading(path, "training history", "delete it and run the training again"):
        history = pd.read_csv(path)
        for family, metric in METRIC_OF.items():
            column = family.replace("-", "_")
            if column not in history:
                return
            logged = history[column].dropna()
            detail = {"steps": len(logged), "last": float(logged.iloc[-1])}
            if family == "gradient-cosine-best":
                detail["temperature"] = float(history["best_temperature"].median())
            rows.value(Protocol(family=family), metric, max(float(logged.mean()), 0.0), len(logged), detail=detail)


def of_negatives(grid: Grid, job: Job, rows: RowWriter, device: torch.device) -> None:
    """Share of false negatives among those that weigh most, by what ranks them; of the common encoder the base rate."""
    params = grid.track(job.track).diagnostics
    assert params is not None
    encoder, top = grid.common_encoder(job), params.top
    method = build_method(
        required_params(grid, job), training_data(grid, job), job.seed
    )  # its settings count, not its weights
    generator = generator_for(device, "random weights", job.seed)
    found: dict[str, list[float]] = {}
    effective, anchors = [], 0
    for first, second, labels in projected(grid, encoder, params.batches, device):
        ranked = method.weightings(first, second) if isinstance(method, TwoViews) else {}
        if job.method == encoder.method:
            random = torch.rand(len(labels), len(labels), generator=generator, device=device)
            ranked = {"random": fill_others(random, -torch.inf, "both")}
            found.setdefault("all", []).append(false_negative_rate(ranked["random"], labels, 1.0))
        for score, weight in ranked.items():
            found.setdefault(score, []).append(false_negative_rate(weight, labels, top))
        if "weights" in ranked:
            effective.append(effective_negatives(ranked["weights"]))
        anchors += len(labels)
    for score, shares in found.items():
        protocol = Protocol(family="false-negatives", score=score, source=encoder.method)
        rows.value(protocol, "false-negatives", float(np.mean(shares)), anchors)
    if effective:
        protocol = Protocol(family="effective-negatives", source=encoder.method)
        rows.value(protocol, "effective-share", float(np.mean(effective)), anchors)


@torch.no_grad()
def projected(
    grid: Grid, encoder: Job, batches: int, device: torch.device
) -> Iterator[tuple[Projection, Projection, Tensor]]:
    """Batches of training examples as the encoder saw them in training: projections of two views, labels (2B,).

    They depend on the data set, the seed and how the encoder was trained alone; each batch is drawn anew.
    """
    data, params, method = training_data(grid, encoder), required_params(grid, encoder), load_trained(grid, encoder)
    assert isinstance(params, ScratchParams) and isinstance(method, ContrastiveMethod)
    kind = modality_of(data)
    x, y, augment = kind.examples(data, "train"), data.y("train"), kind.augmentation(params.augment)
    assert y is not None
    method.to(device).train()
    order = np.random.default_rng(seed_for("diagnosed images", encoder.seed))
    generator = generator_for(device, "diagnosed views", encoder.seed)
    for _ in range(batches):
        index = np.sort(order.permutation(len(x))[: params.training.batch_size])
        clean = kind.inputs(x[index], device)
        views = [clean, *(augment(clean, generator) for _ in range(method.number_of_views))]
        first, second = (method.project(view) for view in views[-2:])  # on graphs, the first view is the graph itself
        yield first, second, torch.tensor(y[index], device=device).repeat(2)
