"""Stage ``features``: frozen features of every split, extracted once per trained encoder."""

from pathlib import Path

import numpy as np
import torch

from contrastbench.datasets.store import Prepared, open_prepared
from contrastbench.errors import UserError
from contrastbench.evaluation.features import extract_features, pixel_features, spectrogram_statistics
from contrastbench.files import replacing
from contrastbench.methods import Method
from contrastbench.params.evaluation import PretrainParams
from contrastbench.pipeline.layout import Job, Layout
from contrastbench.registry import WITHOUT_ENCODER
from contrastbench.stages.modality import to_tensor_for
from contrastbench.stages.pretrain import load_method


def features(
    layout: Layout, job: Job, params: PretrainParams | None, data_folder: Path, *, device: str = "cpu"
) -> None:
    """Write ``features.npz`` (one float32 array (N, D) per split) into the job's folder.

    ``params`` is None for the reference rows without an encoder.
    """
    data = open_prepared(data_folder)
    if job.method in WITHOUT_ENCODER:
        arrays = {split: _input_features(data, split) for split in data.meta.splits if split != "unlabeled"}
    else:
        assert params is not None
        method = load_method(layout.run("pretrain", job), params, data, job.seed)
        arrays = encode(method, data, device)
    write_features(layout.run("features", job), arrays)


def encode(method: Method, data: Prepared, device: str) -> dict[str, np.ndarray]:
    """Features of every labelled split of ``data``."""
    to_tensor = to_tensor_for(data)
    return {
        split: extract_features(method.encoder, data.x(split), to_tensor, device=torch.device(device))
        for split in data.meta.splits
        if split != "unlabeled"
    }


def write_features(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write ``features.npz``; features that are not finite are refused, so that no protocol judges them."""
    for split, array in arrays.items():
        if not np.isfinite(array).all():
            raise UserError(f"{folder}: the {split} features are not finite; the training run has diverged")
    with replacing(folder / "features.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_features(folder: Path) -> dict[str, np.ndarray]:
    """What :func:`write_features` left in ``folder``."""
    path = folder / "features.npz"
    if not path.is_file():
        raise UserError(f"{path}: no such file; run the stage features first")
    with np.load(path) as archive:
        return dict(archive)


def _input_features(data: Prepared, split: str) -> np.ndarray:
    x = data.x(split)
    return pixel_features(x) if data.meta.modality == "image" else spectrogram_statistics(x)
