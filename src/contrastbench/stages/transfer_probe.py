"""Stage ``transfer_probe``: an encoder trained on one data set, judged on another."""

import torch
from torch import Tensor
from torch.nn import functional

from contrastbench.augment.images import to_float
from contrastbench.datasets.store import open_prepared
from contrastbench.errors import UserError
from contrastbench.evaluation.features import extract_features
from contrastbench.jobs.features_file import SPLITS, labelled
from contrastbench.jobs.frozen import judge
from contrastbench.jobs.modality import input_shape
from contrastbench.jobs.rows import RowWriter
from contrastbench.jobs.runtime import Runtime
from contrastbench.jobs.weights import load_trained, training_data
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.results.rows import Row


def transfer_probe(grid: Grid, job: Job, runtime: Runtime) -> list[Row]:
    """Probe the encoder of a job, trained on one data set, on another: a row for each protocol.

    Images are scaled to the size that the encoder was trained at, bilinearly. Rows carry the data set's name
    ``TRAINED-to-JUDGED`` and the judged data's hash.
    """
    trained_on, probed = training_data(grid, job), open_prepared(grid.data_folder(job.track, job.judged))
    if trained_on.meta.modality != "image" or probed.meta.modality != "image":
        raise UserError(f"transfer {job.dataset}: both data sets must be images")
    shape = input_shape(trained_on)
    if input_shape(probed)[0] != shape[0]:
        raise UserError(f"transfer {job.dataset}: one data set is grey, the other in colour")
    method = load_trained(grid, job)

    def scaled(raw: Tensor) -> Tensor:
        return functional.interpolate(to_float(raw), shape[1:], mode="bilinear", antialias=True)

    features = {
        split: extract_features(method.encoder, probed.x(split), scaled, device=torch.device(runtime.device))
        for split in SPLITS
    }
    rows = RowWriter(grid, "transfer_probe", job, probed.meta.hash)
    judge(rows, grid.track(job.track).probe, {split: labelled(features, probed, split) for split in SPLITS})
    return rows.rows
