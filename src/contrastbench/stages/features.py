"""Stage ``features``: frozen features of every split, extracted once per trained encoder."""

import numpy as np
import torch

from contrastbench.datasets.store import Prepared, open_prepared
from contrastbench.evaluation.features import extract_features, pixel_features, spectrogram_statistics
from contrastbench.methods import Method
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.stages.cache import write_features
from contrastbench.stages.modality import to_tensor_for
from contrastbench.stages.runs import load_method


def features(grid: Grid, job: Job, *, device: str = "cpu") -> None:
    """Write ``features.npz`` (one float32 array (N, D) per split) into the job's folder."""
    data = open_prepared(grid.data_folder(job))
    params = grid.pretrain_params(job)
    if params is None:  # a reference row without an encoder
        arrays = {split: input_features(data, split) for split in data.meta.splits if split != "unlabeled"}
    else:
        method = load_method(grid.trained(job), params, data, job.seed)
        arrays = encode(method, data, device)
    write_features(grid.layout.run("features", job), arrays)


def encode(method: Method, data: Prepared, device: str) -> dict[str, np.ndarray]:
    """Features of every labelled split of ``data``."""
    to_tensor = to_tensor_for(data)
    return {
        split: extract_features(method.encoder, data.x(split), to_tensor, device=torch.device(device))
        for split in data.meta.splits
        if split != "unlabeled"
    }


def input_features(data: Prepared, split: str) -> np.ndarray:
    """What stands for features where there is no encoder: pixels, or statistics of spectrograms over time."""
    x = data.x(split)
    return pixel_features(x) if data.meta.modality == "image" else spectrogram_statistics(x)
