"""Stage ``transfer_probe``: an encoder trained on one data set, judged on another."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from contrastbench.datasets.store import open_prepared
from contrastbench.errors import UserError
from contrastbench.evaluation.features import extract_features
from contrastbench.jobs.cache import SPLITS, labelled, training_record
from contrastbench.jobs.context import RowWriter
from contrastbench.jobs.runs import load_method
from contrastbench.modalities import modality_of
from contrastbench.params.unremix import Transfer
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.stages.probe import judge


def transfer_probe(grid: Grid, job: Job, transfer: Transfer, device: str) -> None:
    """Probe the encoder of ``job`` (trained on ``transfer.train``) on the data set ``transfer.probe``.

    Inputs of another shape than the encoder was trained on are adapted as their modality says. Rows carry the data
    set's name ``TRAIN-to-PROBE`` and the probed data's hash.
    """
    params = grid.pretrain_params(job)
    if params is None:
        raise UserError(f"{job.method}: a reference row without an encoder; there is nothing to transfer")
    trained_on = open_prepared(grid.data_folder(job))
    probed = open_prepared(grid.data_folder(replace(job, dataset=transfer.probe)))
    if trained_on.meta.modality != probed.meta.modality:
        raise UserError(f"transfer {transfer.label}: both data sets must be of one modality")
    kind = modality_of(probed)
    try:
        adapt = kind.adaptation(kind.input_shape(probed), kind.input_shape(trained_on))
    except UserError as error:
        raise UserError(f"transfer {transfer.label}: {error}") from None
    method = load_method(grid.trained(job), params, trained_on, job.seed)

    def adapted(rows: Any, on: torch.device) -> Tensor:
        return adapt(kind.inputs(rows, on))

    features = {
        split: extract_features(method.encoder, kind.examples(probed, split), adapted, device=torch.device(device))
        for split in SPLITS
    }
    trained_device, common = training_record(grid, job)
    code = [*grid.training_code(job), grid.code("transfer_probe", job)]
    target = Job(job.track, transfer.label, job.method, job.seed)
    section = grid.track(job.track).probe
    rows = RowWriter(grid.layout, "transfer_probe", target, [params, section], code, probed.meta.hash, trained_device)
    judge(rows, section, {split: labelled(features, probed, split) for split in SPLITS}, common)
