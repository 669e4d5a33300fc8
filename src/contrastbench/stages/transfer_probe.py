"""Stage ``transfer_probe``: an encoder trained on one data set, judged on another."""

from contrastbench.jobs.features_file import SPLITS, labelled
from contrastbench.jobs.frozen import judge
from contrastbench.jobs.judged import features_on
from contrastbench.jobs.rows import RowWriter
from contrastbench.jobs.runtime import Runtime
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.results.rows import Row


def transfer_probe(grid: Grid, job: Job, runtime: Runtime) -> list[Row]:
    """Probe the encoder of a job, trained on one data set, on another: a row for each protocol.

    Rows carry the data set's name ``TRAINED-to-JUDGED`` and the judged data's hash.
    """
    features, probed = features_on(grid, job, runtime.device)
    rows = RowWriter(grid, "transfer_probe", job, probed.meta.hash)
    splits = {split: labelled(features, probed, split) for split in SPLITS}
    judge(rows, grid.track(job.track).probe, splits, runtime.device)
    return rows.rows
