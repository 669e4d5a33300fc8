"""Stage ``pretrain``: train one method on one data set with one seed."""

from pathlib import Path

import numpy as np

from contrastbench.datasets.store import Prepared, open_prepared
from contrastbench.methods import Method
from contrastbench.params.base import params_hash
from contrastbench.params.evaluation import PretrainParams
from contrastbench.pipeline.fingerprint import fingerprint
from contrastbench.pipeline.layout import Job, Layout
from contrastbench.registry import method_module
from contrastbench.stages.context import Meter
from contrastbench.stages.modality import augmentation_for, to_tensor_for
from contrastbench.stages.runs import build_method, write_run
from contrastbench.training.loop import Examples, train
from contrastbench.training.record import TrainingLog


class Joined:
    """Several stored arrays, indexed as one: what STL-10's `train` plus `unlabeled` is trained on."""

    def __init__(self, arrays: list[np.ndarray]) -> None:
        self._arrays = arrays
        self._starts = np.cumsum([0, *map(len, arrays)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        """The examples at sorted positions ``index``."""
        parts = []
        for array, start, stop in zip(self._arrays, self._starts, self._starts[1:], strict=False):
            inside = index[(index >= start) & (index < stop)]
            if len(inside):
                parts.append(array[inside - start])
        return np.concatenate(parts)


def pretrain(
    layout: Layout,
    job: Job,
    params: PretrainParams,
    data_folder: Path,
    *,
    device: str = "cpu",
    show_progress: bool = True,
) -> None:
    """Train and leave ``model.safetensors``, ``history.csv`` and ``run.json`` in the job's folder."""
    meter = Meter()
    data = open_prepared(data_folder)
    method = build_method(params, data, job.seed)
    code = fingerprint("pretrain", method_module(params.method))
    log = TrainingLog()
    checkpoint = layout.run("checkpoints", job) / "pretrain.pt"
    if method.trains:
        log = train(
            method,
            _examples(method, data, params),
            params.training,
            seed=job.seed,
            checkpoint=checkpoint,
            identity=f"{params_hash(params)}-{code}-{data.meta.hash}",
            device=device,
            show_progress=show_progress,
        )
    write_run(layout.run("pretrain", job), method, log, params, code, data.meta.hash, device, meter)
    checkpoint.unlink(missing_ok=True)


def _examples(method: Method, data: Prepared, params: PretrainParams) -> Examples:
    to_tensor, augment = to_tensor_for(data), augmentation_for(params.augment)
    if "unlabeled" in data.meta.splits and not method.uses_labels:
        return Examples(Joined([data.x("train"), data.x("unlabeled")]), None, to_tensor, augment)
    return Examples(data.x("train"), data.y("train"), to_tensor, augment)
