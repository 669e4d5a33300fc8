"""Stage ``probe``: linear probe, low-label probe and kNN on cached features."""

import numpy as np

from contrastbench.datasets.store import open_prepared
from contrastbench.evaluation.knn import fit_knn
from contrastbench.evaluation.labelled import Labelled, verdicts
from contrastbench.evaluation.linear_probe import linear_probe, low_label_probe
from contrastbench.jobs.cache import SPLITS, examples, read_features, training_record
from contrastbench.jobs.context import RowWriter
from contrastbench.params.evaluation import ProbeParams
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job


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
