"""What a training run leaves in its folder, written and read back."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors.torch import load_file, save

from contrastbench.datasets.store import Prepared
from contrastbench.errors import UserError
from contrastbench.files import reading, write_bytes, write_text
from contrastbench.jobs.context import Meter, device_name
from contrastbench.methods import Method, method_class
from contrastbench.modalities import modality_of
from contrastbench.params.base import params_hash
from contrastbench.params.evaluation import PretrainParams
from contrastbench.training.record import TrainingLog
from contrastbench.training.seeds import seed_for


def build_method(params: PretrainParams, data: Prepared, seed: int) -> Method:
    """A freshly initialised method; its weights depend on ``seed`` alone."""
    torch.manual_seed(seed_for("init", seed))
    return method_class(params.method).from_params(params, modality_of(data).input_shape(data), len(data.meta.classes))


def load_method(folder: Path, params: PretrainParams, data: Prepared, seed: int) -> Method:
    """The method that ``pretrain`` left in ``folder``, in eval mode on the CPU."""
    method = build_method(params, data, seed)
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise UserError(f"{weights}: no such file; run the stage pretrain first")
    with reading(weights, "file of this method's weights", "delete it and run the training again"):
        method.load_state_dict(load_file(weights))
    return method.eval()


def write_run(
    folder: Path,
    method: Method,
    log: TrainingLog,
    params: PretrainParams,
    code: str,
    data_hash: str,
    device: str,
    meter: Meter,
    further: Mapping[str, object] = MappingProxyType({}),
) -> None:
    """Write weights, history and the record of one training run, each whole or not at all.

    ``further`` is recorded beside the rest.
    """
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in method.state_dict().items()}
    write_bytes(folder / "model.safetensors", save(state))  # save_file would hide a full disk in an error of its own
    import pandas as pd  # a quarter of a second, which the stages that only read runs need not wait for

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
        **further,
    }
    write_text(folder / "run.json", json.dumps(record, indent=1) + "\n")
