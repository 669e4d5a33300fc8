"""Stage ``pretrain``: train one method on one data set with one seed."""

from pathlib import Path

from contrastbench.datasets.store import open_prepared
from contrastbench.errors import UserError
from contrastbench.jobs.context import Meter
from contrastbench.jobs.examples import examples_for
from contrastbench.jobs.runs import build_method, write_run
from contrastbench.params.base import params_hash
from contrastbench.params.evaluation import PretrainParams, ScratchParams
from contrastbench.pipeline.fingerprint import fingerprint
from contrastbench.pipeline.imported import by_contents, import_record
from contrastbench.pipeline.layout import Job, Layout
from contrastbench.registry import method_module, modality_module
from contrastbench.training.loop import train
from contrastbench.training.record import TrainingLog


def pretrain(
    layout: Layout,
    job: Job,
    params: PretrainParams,
    data_folder: Path,
    *,
    device: str = "cpu",
    show_progress: bool = True,
) -> None:
    """Train and leave ``model.safetensors``, ``history.csv`` and ``run.json`` in the job's folder.

    ``params`` name the file of an imported checkpoint; what is recorded of it is its contents.
    """
    if not isinstance(params, ScratchParams):
        raise UserError(f"{job.method} starts from trained weights: run `contrastbench tune`")
    meter = Meter()
    data = open_prepared(data_folder)
    folder = layout.run("pretrain", job)
    method = build_method(params, data, job.seed)
    method.import_weights()
    named = by_contents(params, folder)
    code = fingerprint("pretrain", modality_module(params.modality), method_module(params.method))
    log = TrainingLog()
    checkpoint = layout.run("checkpoints", job) / "pretrain.pt"
    if method.trains:
        log = train(
            method,
            examples_for(method, data, params.augment),
            params.training,
            seed=job.seed,
            checkpoint=checkpoint,
            identity=f"{params_hash(named)}-{code}-{data.contents}",
            device=device,
            show_progress=show_progress,
        )
    write_run(folder, method, log, named, code, data.meta.hash, device, meter, import_record(params, folder))
    checkpoint.unlink(missing_ok=True)
