"""Stage ``features``: frozen features of every split, extracted once per trained encoder."""

from contrastbench.datasets.store import open_prepared
from contrastbench.jobs.cache import write_features
from contrastbench.jobs.encode import encode, reference_features
from contrastbench.jobs.runs import load_method
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job


def features(grid: Grid, job: Job, *, device: str = "cpu") -> None:
    """Write ``features.npz`` (one float32 array (N, D) per split) into the job's folder."""
    data = open_prepared(grid.data_folder(job))
    params = grid.pretrain_params(job)
    if params is None:  # a reference row without an encoder
        arrays = reference_features(data)
    else:
        method = load_method(grid.trained(job), params, data, job.seed)
        arrays = encode(method, data, device)
    write_features(grid.layout.run("features", job), arrays)
