"""Stage ``validate_knn``: nearest neighbours of a trained encoder's validation features, for choices of training."""

from contrastbench.datasets.store import open_prepared
from contrastbench.jobs.features_file import read_features
from contrastbench.jobs.rows import RowWriter
from contrastbench.jobs.runtime import Runtime
from contrastbench.jobs.validation_knn import validation_verdicts
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.results.protocols import Protocol
from contrastbench.results.rows import Row


def validate_knn(grid: Grid, job: Job, runtime: Runtime) -> list[Row]:
    """One row: the probe's kNN, whose neighbours are training examples, on all validation examples."""
    params = grid.track(job.track).probe
    data = open_prepared(grid.data_folder(job.track, job.dataset))
    features = read_features(grid, job, data)
    verdicts = validation_verdicts(features, data, params, runtime.device)
    rows = RowWriter(grid, "validate_knn", job, data.meta.hash)
    rows.accuracy(Protocol(family="validation-knn"), verdicts, {"k": params.knn_neighbours})
    return rows.rows
