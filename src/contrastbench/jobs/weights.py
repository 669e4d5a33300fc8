"""What a training run leaves in its folder, written and read back."""

import csv
import io
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save

from contrastbench.datasets.store import Prepared, open_prepared
from contrastbench.errors import UserError
from contrastbench.files import reading, write_bytes, write_text
from contrastbench.jobs.meter import Meter, device_name
from contrastbench.methods import Method, method_class
from contrastbench.modalities import modality_of
from contrastbench.params.evaluation import PretrainParams
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.imported import import_record
from contrastbench.pipeline.layout import Job
from contrastbench.pipeline.records import trained_record
from contrastbench.training.record import TrainingLog
from contrastbench.training.seeds import seed_for


def build_method(params: PretrainParams, data: Prepared, seed: int) -> Method:
    """A freshly initialised method; its weights depend on ``seed`` alone."""
    torch.manual_seed(seed_for("init", seed))
    return method_class(params.method).from_params(params, modality_of(data).input_shape(data), len(data.meta.classes))


def training_data(grid: Grid, job: Job) -> Prepared:
    """The arrays that a job's encoder is trained on."""
    return open_prepared(grid.data_folder(job.track, job.trained.dataset))


def required_params(grid: Grid, job: Job) -> PretrainParams:
    """What training the job reads; a reference row without an encoder is a UserError."""
    params = grid.pretrain_params(job)
    if params is None:
        raise UserError(f"{job.method}: a reference row without an encoder; there are no weights")
    return params


def load_trained(grid: Grid, job: Job) -> Method:
    """The method that training left for ``job``, in eval mode on the CPU.

    Weights of other parameters, code or data than those asked for are a UserError.
    """
    params, data = required_params(grid, job), training_data(grid, job)
    trained_record(grid, job)
    return load_method(grid.trained(job), params, data, job.seed)


def load_method(folder: Path, params: PretrainParams, data: Prepared, seed: int) -> Method:
    """The method whose weights lie in ``folder``, in eval mode on the CPU."""
    method = build_method(params, data, seed)
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise UserError(f"{weights}: no such file; run the training first")
    with reading(weights, "file of this method's weights", "delete it and run the training again"):
        method.load_state_dict(load_file(weights))
    return method.eval()


def write_run(
    grid: Grid, job: Job, method: Method, log: TrainingLog, device: str, meter: Meter, made_from: dict[str, str]
) -> None:
    """Write weights, history and the record of one training run, each whole or not at all.

    ``made_from`` is :func:`asked_record` as it was when training began.
    """
    folder = grid.trained(job)
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in method.state_dict().items()}
    write_bytes(folder / "model.safetensors", save(state))  # save_file would hide a full disk in an error of its own
    write_text(folder / "history.csv", _as_csv(log.history))
    record = {
        "params": required_params(grid, job).model_dump(mode="json"),
        **made_from,
        **import_record(grid.track(job.track).pretrain(job.method, job.dataset), folder),
        "device": device_name(device),
        "torch": torch.__version__,
        "steps": log.steps,
        "training_s": round(log.seconds, 3),
        "wall_s": meter.wall_s,
        "peak_mb": meter.peak_mb,
        "warnings": log.warnings,
    }
    write_text(folder / "run.json", json.dumps(record, indent=1) + "\n")


def _as_csv(history: list[dict[str, float]]) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, list(dict.fromkeys(name for entry in history for name in entry)), lineterminator="\n")
    table.writeheader()
    table.writerows(history)
    return text.getvalue()
