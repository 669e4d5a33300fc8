"""Stage ``pretrain``: train one method on one data set with one seed."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file

from contrastbench.datasets.store import Prepared, open_prepared
from contrastbench.errors import UserError
from contrastbench.files import replacing, write_text
from contrastbench.methods import Method, method_class
from contrastbench.params.base import params_hash
from contrastbench.params.evaluation import PretrainParams
from contrastbench.pipeline.fingerprint import fingerprint
from contrastbench.pipeline.layout import Job, Layout
from contrastbench.registry import method_module
from contrastbench.stages.context import Meter, device_name
from contrastbench.stages.modality import augmentation_for, input_shape, to_tensor_for
from contrastbench.training.loop import Examples, TrainingLog, train
from contrastbench.training.seeds import seed_for


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


def build_method(params: PretrainParams, data: Prepared, seed: int) -> Method:
    """A freshly initialised method; its weights depend on ``seed`` alone."""
    torch.manual_seed(seed_for("init", seed))
    return method_class(params.method).from_params(params, input_shape(data), len(data.meta.classes))


def load_method(folder: Path, params: PretrainParams, data: Prepared, seed: int) -> Method:
    """The method that ``pretrain`` left in ``folder``, in eval mode on the CPU."""
    method = build_method(params, data, seed)
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise UserError(f"{weights}: no such file; run the stage pretrain first")
    method.load_state_dict(load_file(weights))
    return method.eval()


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


def write_run(
    folder: Path,
    method: Method,
    log: TrainingLog,
    params: PretrainParams,
    code: str,
    data_hash: str,
    device: str,
    meter: Meter,
) -> None:
    """Write weights, history and the record of one training run, each whole or not at all."""
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in method.state_dict().items()}
    with replacing(folder / "model.safetensors") as temporary:
        save_file(state, temporary)
    write_text(folder / "history.csv", pd.DataFrame(log.history).to_csv(index=False))
    record = {
        "params": params.model_dump(mode="json"),
        "params_hash": params_hash(params),
        "code_hash": code,
        "data_hash": data_hash,
        "device": device_name(device),
        "torch": torch.__version__,
        "steps": log.steps,
        "training_s": round(log.seconds, 3),
        "wall_s": meter.wall_s,
        "peak_mb": meter.peak_mb,
        "warnings": log.warnings,
    }
    write_text(folder / "run.json", json.dumps(record, indent=1) + "\n")


def run_record(folder: Path) -> dict:
    """What :func:`write_run` left in ``run.json``; a missing or broken file is a UserError."""
    path = folder / "run.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"{path}: missing or not readable; run the stage pretrain again") from None
