"""What training says of itself in ``run.json``, read without torch, and checked against what is asked for."""

import json
from pathlib import Path

from contrastbench.datasets.store import data_hash
from contrastbench.errors import UserError
from contrastbench.files import reading
from contrastbench.params.base import params_hash
from contrastbench.pipeline.grid import Grid, joined
from contrastbench.pipeline.layout import Job


def run_record(folder: Path) -> dict:
    """What training left in ``run.json``; a missing or broken file is a UserError."""
    path = folder / "run.json"
    if not path.is_file():
        raise UserError(f"{path}: no such file; run the training first")
    with reading(path, "record of a training run", "delete it and run the training again"):
        record = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(record["device"], str) or not isinstance(record["warnings"], list):
            raise TypeError("device or warnings of the wrong type")
    return record


def asked_record(grid: Grid, job: Job, data_hash: str) -> dict[str, str]:
    """The hashes that the record of a job's training on some data must name: of parameters, code and data."""
    params = grid.pretrain_params(job)
    assert params is not None
    return {
        "params_hash": params_hash(params),
        "code_hash": joined(grid.training_code(job)),
        "data_hash": data_hash,
    }


def trained_record(grid: Grid, job: Job) -> dict:
    """The record of a job's training; of one with other parameters, code or data than asked for, a UserError."""
    folder = grid.trained(job)
    train = f"run `contrastbench {grid.training_stage(job)} {job.trained.name} --preset {grid.preset}`"
    if not (grid.root / folder / "run.json").is_file():
        raise UserError(f"{folder}/run.json: no such file; {train}")
    record = run_record(grid.root / folder)
    data_there = data_hash(grid.root / grid.data_folder(job.track, job.trained.dataset))
    for name, asked in asked_record(grid, job, data_there or "").items():
        if record.get(name) != asked:
            what = name.removesuffix("_hash").replace("params", "parameters")
            raise UserError(f"{folder}: trained with other {what} than those asked for; {train}")
    return record
