"""Stage ``transfer_probe``: an encoder trained on one data set, judged on another."""

import torch
from torch import Tensor
from torch.nn import functional

from contrastbench.augment.images import to_float
from contrastbench.datasets.store import open_prepared
from contrastbench.errors import UserError
from contrastbench.evaluation.features import extract_features
from contrastbench.jobs.cache import SPLITS, labelled, training_record
from contrastbench.jobs.context import RowWriter
from contrastbench.jobs.modality import input_shape
from contrastbench.jobs.runs import load_method
from contrastbench.params.evaluation import Transfer
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.stages.probe import judge


def transfer_probe(grid: Grid, job: Job, transfer: Transfer, device: str) -> None:
    """Probe the encoder of ``job`` (trained on ``transfer.train``) on the data set ``transfer.probe``.

    Images are scaled to the size that the encoder was trained at, bilinearly. Rows carry the data set's name
    ``TRAIN-to-PROBE`` and the probed data's hash.
    """
    params = grid.pretrain_params(job)
    if params is None:
        raise UserError(f"{job.method}: a reference row without an encoder; there is nothing to transfer")
    trained_on = open_prepared(grid.layout.prepared(transfer.train))
    probed = open_prepared(grid.layout.prepared(transfer.probe))
    if trained_on.meta.modality != "image" or probed.meta.modality != "image":
        raise UserError(f"transfer {transfer.label}: both data sets must be images")
    shape = input_shape(trained_on)
    if input_shape(probed)[0] != shape[0]:
        raise UserError(f"transfer {transfer.label}: one data set is grey, the other in colour")
    method = load_method(grid.trained(job), params, trained_on, job.seed)

    def scaled(raw: Tensor) -> Tensor:
        return functional.interpolate(to_float(raw), shape[1:], mode="bilinear", antialias=True)

    features = {
        split: extract_features(method.encoder, probed.x(split), scaled, device=torch.device(device))
        for split in SPLITS
    }
    trained_device, common = training_record(grid, job)
    code = [*grid.training_code(job), grid.code("transfer_probe", job)]
    target = Job(job.track, transfer.label, job.method, job.seed)
    section = grid.track(job.track).probe
    rows = RowWriter(grid.layout, "transfer_probe", target, [params, section], code, probed.meta.hash, trained_device)
    judge(rows, section, {split: labelled(features, probed, split) for split in SPLITS}, common)
