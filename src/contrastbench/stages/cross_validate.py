"""Stage ``cross_validate``: judge features of graphs, or a kernel between them, in stratified folds."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from contrastbench.datasets.graph_store import StoredGraphs
from contrastbench.datasets.store import open_prepared
from contrastbench.evaluation.folds import Fold, FoldVerdicts, in_order, stratified_folds, svm_verdicts
from contrastbench.evaluation.knn import fit_knn
from contrastbench.evaluation.labelled import Labelled, is_correct
from contrastbench.evaluation.linear_probe import linear_probe, low_label_probe
from contrastbench.evaluation.wl_kernel import wl_kernel
from contrastbench.jobs.features_file import labelled, read_features
from contrastbench.jobs.rows import RowWriter
from contrastbench.jobs.runtime import Runtime
from contrastbench.params.evaluation import ProbeParams
from contrastbench.params.graph_track import GraphTrack
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.registry import KERNELS
from contrastbench.results.protocols import Protocol
from contrastbench.results.rows import Row
from contrastbench.training.seeds import seed_for


def cross_validate(grid: Grid, job: Job, runtime: Runtime) -> list[Row]:
    """Judge one method in the folds of its seed: a row for each protocol, with a verdict on every graph.

    Features, or the kernel, are of all graphs; neither has seen a label. A kernel is judged by the support vector
    machine alone.
    """
    section = grid.track(job.track)
    assert isinstance(section, GraphTrack)
    params, data = section.folds, open_prepared(grid.data_folder(job.track, job.dataset))
    rows = RowWriter(grid, "cross_validate", job, data.meta.hash)
    if job.method in KERNELS:
        kernel, labels = _kernel(data.folder, data.contents, params.wl_iterations), np.asarray(data.y("train"))
        folds = stratified_folds(labels, params, job.seed, data.meta)
        found = svm_verdicts(kernel, labels, folds, params, kernel="precomputed")
        rows.accuracy(Protocol(family="fold-svm"), found.correct, found.detail)
        return rows.rows
    graphs = labelled(read_features(grid, job, data), data, "train")
    folds = stratified_folds(graphs.labels, params, job.seed, data.meta)
    found = svm_verdicts(graphs.features, graphs.labels, folds, params)
    rows.accuracy(Protocol(family="fold-svm"), found.correct, found.detail)
    _probes(rows, section.probe, graphs, folds, params.inner, runtime.device)
    return rows.rows


def _probes(rows: RowWriter, params: ProbeParams, graphs: Labelled, folds: list[Fold], inner: int, device: str) -> None:
    """The suite's own protocols (jobs/frozen.py), with a share of each training part as validation split.

    Nearest neighbours have nothing to choose, and so are the whole training part's.
    """
    parts = [fold.parts(graphs, inner) for fold in folds]
    found = FoldVerdicts.of(folds, [linear_probe(*three, params.l2_grid, device=device) for three in parts])
    rows.accuracy(Protocol(family="fold-linear"), found.correct, found.detail)

    for shots in params.low_label_shots:
        results = [
            low_label_probe(
                *three,
                params.l2_grid,
                shots=shots,
                draws=params.low_label_draws,
                seed=seed_for("few labels", rows.job.seed, number),
                device=device,
            )
            for number, three in enumerate(parts)
        ]
        draws = [in_order(folds, [result.correct for result in of_draw]) for of_draw in zip(*results, strict=True)]
        detail = {"draws": [float(correct.mean()) for correct in draws], "folds": len(folds)}
        rows.accuracy(Protocol(family="fold-low-label", shots=shots), np.concatenate(draws), detail)

    correct = []
    for fold in folds:
        train, test = fold.whole(graphs)
        knn = fit_knn(train, neighbours=params.knn_neighbours, temperature=params.knn_temperature, device=device)
        correct.append(is_correct(knn, test))
    detail = {"k": params.knn_neighbours, "folds": len(folds)}
    rows.accuracy(Protocol(family="fold-knn"), in_order(folds, correct), detail)


@lru_cache(maxsize=1)
def _kernel(folder: Path, contents: str, iterations: int) -> np.ndarray:
    """Computed once for all seeds of a job; ``contents`` is the hash of what lies in ``folder``."""
    return wl_kernel(StoredGraphs.of(open_prepared(folder), "train"), iterations)
