"""Stage ``features``: frozen features of every split, extracted once per trained encoder."""

from contrastbench.jobs.encode import encode, reference_features
from contrastbench.jobs.features_file import write_features
from contrastbench.jobs.runtime import Runtime
from contrastbench.jobs.weights import load_trained, training_data
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.registry import WITHOUT_ENCODER


def features(grid: Grid, job: Job, runtime: Runtime) -> None:
    """Write ``features.safetensors`` (one float32 array (N, D) per split) into the job's folder."""
    data = training_data(grid, job)
    if job.method in WITHOUT_ENCODER:
        arrays = reference_features(data)
    else:
        arrays = encode(load_trained(grid, job), data, runtime.device)
    write_features(grid, job, data, arrays)
