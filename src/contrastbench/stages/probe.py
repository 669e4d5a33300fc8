"""Stage ``probe``: linear probe, low-label probe and kNN on cached features."""

from contrastbench.datasets.store import open_prepared
from contrastbench.jobs.features_file import SPLITS, examples, read_features
from contrastbench.jobs.frozen import judge
from contrastbench.jobs.rows import RowWriter
from contrastbench.jobs.runtime import Runtime
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.results.rows import Row


def probe(grid: Grid, job: Job, runtime: Runtime) -> list[Row]:
    """Judge one method's cached features by every frozen-feature protocol: a row for each."""
    data = open_prepared(grid.data_folder(job.track, job.dataset))
    features = read_features(grid, job, data)
    rows = RowWriter(grid, "probe", job, data.meta.hash)
    splits = {split: examples(features, data, split) for split in SPLITS}
    judge(rows, grid.track(job.track).probe, splits, runtime.device)
    return rows.rows
