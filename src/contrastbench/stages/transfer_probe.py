"""Stage ``transfer_probe``: an encoder trained on one data set, judged on another."""

from typing import Any

import torch
from torch import Tensor

from contrastbench.datasets.store import open_prepared
from contrastbench.errors import UserError
from contrastbench.evaluation.features import extract_features
from contrastbench.jobs.features_file import SPLITS, labelled
from contrastbench.jobs.frozen import judge
from contrastbench.jobs.rows import RowWriter
from contrastbench.jobs.runtime import Runtime
from contrastbench.jobs.weights import load_trained, training_data
from contrastbench.modalities import modality_of
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.results.rows import Row


def transfer_probe(grid: Grid, job: Job, runtime: Runtime) -> list[Row]:
    """Probe the encoder of a job, trained on one data set, on another: a row for each protocol.

    Inputs of another shape than the encoder was trained on are adapted as their modality says. Rows carry the data
    set's name ``TRAINED-to-JUDGED`` and the judged data's hash.
    """
    trained_on, probed = training_data(grid, job), open_prepared(grid.data_folder(job.track, job.judged))
    kind = modality_of(probed)
    try:
        adapt = kind.adaptation(kind.input_shape(probed), kind.input_shape(trained_on))
    except UserError as error:
        raise UserError(f"transfer {job.dataset}: {error}") from None
    method = load_trained(grid, job)

    def adapted(rows: Any, on: torch.device) -> Tensor:
        return adapt(kind.inputs(rows, on))

    features = {
        split: extract_features(
            method.encoder, kind.examples(probed, split), adapted, device=torch.device(runtime.device)
        )
        for split in SPLITS
    }
    rows = RowWriter(grid, "transfer_probe", job, probed.meta.hash)
    judge(rows, grid.track(job.track).probe, {split: labelled(features, probed, split) for split in SPLITS})
    return rows.rows
