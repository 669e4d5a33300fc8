"""Stage ``probe``: linear probe, low-label probe and kNN on cached features."""

from dataclasses import replace

import numpy as np

from contrastbench.datasets.store import Prepared, open_prepared
from contrastbench.errors import UserError
from contrastbench.evaluation.knn import fit_knn
from contrastbench.evaluation.labelled import Labelled, verdicts
from contrastbench.evaluation.linear_probe import linear_probe, low_label_probe
from contrastbench.params.evaluation import ProbeParams
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.stages.cache import read_features, run_record
from contrastbench.stages.context import RowWriter

SPLITS = ("train", "validation", "test")


def labelled(features: dict[str, np.ndarray], data: Prepared, split: str) -> Labelled:
    """Features and labels of one split; their counts must agree."""
    labels = data.y(split)
    if labels is None:
        raise UserError(f"{data.folder}: the split {split!r} has no labels to judge by")
    if len(features[split]) != len(labels):
        raise UserError(f"{split}: {len(features[split])} features for {len(labels)} labels; extract them again")
    return Labelled(features[split], np.asarray(labels))


def examples(features: dict[str, np.ndarray], data: Prepared, split: str) -> Labelled:
    """Like :func:`labelled`; where sound is cut into several segments, with the clip of each."""
    rows = labelled(features, data, split)
    if "clip" not in data.meta.splits[split].arrays:
        return rows
    clip = np.asarray(data.column(split, "clip"))
    return rows if len(np.unique(clip)) == len(clip) else replace(rows, clip=clip)


def training_record(grid: Grid, job: Job) -> tuple[str, dict]:
    """The device that trained the job's encoder, and what its training wants said beside every value.

    A warning of the training run (collapse, a loss that never moved) becomes a failed check of the row, so
    that no table hides it.
    """
    params = grid.pretrain_params(job)
    if params is None:
        return "cpu", {}
    record = run_record(grid.trained(job))
    return record["device"], {"failed_checks": record["warnings"]} if record["warnings"] else {}


def probe(grid: Grid, job: Job) -> None:
    """Judge one method's cached features by every frozen-feature protocol and write a row for each."""
    params = grid.track(job.track).probe
    data = open_prepared(grid.data_folder(job))
    cached = read_features(grid.layout.run("features", job), data.meta.splits)
    device, common = training_record(grid, job)
    sections = [section for section in (grid.pretrain_params(job), params) if section is not None]
    code = [*grid.training_code(job), *(grid.code(stage, job) for stage in ("features", "probe"))]
    rows = RowWriter(grid.layout, "probe", job, sections, code, data.meta.hash, device)
    judge(rows, params, {split: examples(cached, data, split) for split in SPLITS}, common)


def judge(rows: RowWriter, params: ProbeParams, splits: dict[str, Labelled], common: dict) -> None:
    """Linear probe, low-label probe and kNN: fit on ``train``, choose on ``validation``, judge ``test`` once."""
    train, validation, test = (splits[split] for split in SPLITS)
    seed = rows.job.seed
    result = linear_probe(train, validation, test, params.l2_grid, seed)
    chosen = {"C": result.strength, "validation_accuracy": result.validation_accuracy}
    rows.accuracy("linear", result.correct, common | chosen)

    for shots in params.low_label_shots:
        results = low_label_probe(
            train, validation, test, params.l2_grid, shots=shots, draws=params.low_label_draws, seed=seed
        )
        draws = [float(result.correct.mean()) for result in results]
        correct = np.concatenate([result.correct for result in results])
        rows.accuracy(f"low-label-{shots}", correct, common | {"draws": draws})

    knn = fit_knn(train, neighbours=params.knn_neighbours, temperature=params.knn_temperature)
    rows.accuracy("knn", verdicts(knn, test), common | {"k": params.knn_neighbours})
