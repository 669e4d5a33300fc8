"""Stage ``validate_knn``: nearest neighbours of a trained encoder's validation features, for choices of training."""

from contrastbench.datasets.store import open_prepared
from contrastbench.evaluation.knn import fit_knn
from contrastbench.evaluation.labelled import is_correct
from contrastbench.jobs.features_file import examples, read_features
from contrastbench.jobs.rows import RowWriter
from contrastbench.jobs.runtime import Runtime
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.results.protocols import Protocol
from contrastbench.results.rows import Row


def validate_knn(grid: Grid, job: Job, runtime: Runtime) -> list[Row]:
    """One row: the probe's kNN, whose neighbours are training examples, on all validation examples."""
    params = grid.track(job.track).probe
    data = open_prepared(grid.data_folder(job.track, job.dataset))
    features = read_features(grid, job, data)
    train, validation = (examples(features, data, split) for split in ("train", "validation"))
    knn = fit_knn(train, neighbours=params.knn_neighbours, temperature=params.knn_temperature, device=runtime.device)
    rows = RowWriter(grid, "validate_knn", job, data.meta.hash)
    rows.accuracy(Protocol(family="validation-knn"), is_correct(knn, validation), {"k": params.knn_neighbours})
    return rows.rows
