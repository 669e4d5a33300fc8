"""Stage ``tune``: progressive retraining of a masked autoencoder's encoder (uaMix-MAE, Fig-A), in two steps."""

from dataclasses import replace
from pathlib import Path

from contrastbench.datasets.store import Prepared, open_prepared
from contrastbench.errors import UserError
from contrastbench.files import file_hash
from contrastbench.jobs.context import Meter
from contrastbench.jobs.examples import examples_for
from contrastbench.jobs.runs import build_method, load_method, write_run
from contrastbench.methods.contrastive_tuning import ContrastiveTuning
from contrastbench.params.base import params_hash
from contrastbench.params.evaluation import PretrainParams
from contrastbench.params.uamix import EncoderStepParams, HeadStepParams, TuneParams
from contrastbench.pipeline.fingerprint import fingerprint
from contrastbench.pipeline.layout import Job, Layout
from contrastbench.registry import method_module, modality_module
from contrastbench.training.checkpoint import load_checkpoint, save_checkpoint
from contrastbench.training.loop import train
from contrastbench.training.record import TrainingLog
from contrastbench.training.seeds import seed_for


def tune(
    layout: Layout,
    job: Job,
    params: PretrainParams,
    data_folder: Path,
    *,
    device: str = "cpu",
    show_progress: bool = True,
) -> None:
    """Learn the head on the frozen encoder, then the encoder's upper part with it.

    Starts from the weights that ``pretrain`` left for ``params.start`` with the same data set and seed. Leaves
    ``model.safetensors``, ``history.csv`` and ``run.json`` in the folder of ``tune``. A killed run continues in
    the step where it stood.
    """
    if not isinstance(params, TuneParams):
        raise UserError(f"{job.method} is trained from scratch: run `contrastbench pretrain`")
    meter = Meter()
    data = open_prepared(data_folder)
    start = layout.run("pretrain", replace(job, method=params.start.method))
    method = _method_on(start, params, data, job.seed)
    code = fingerprint("tune", modality_module(params.modality), method_module(params.method))
    identity = "-".join([params_hash(params), code, data.contents, file_hash(start / "model.safetensors")])
    checkpoints = layout.run("checkpoints", job)

    whole = TrainingLog()
    steps: list[HeadStepParams | EncoderStepParams] = [params.head_step, params.encoder_step]
    for number, step in enumerate(steps, start=1):
        method.begin(step)
        finished = checkpoints / f"tune-{number}-finished.pt"
        state = load_checkpoint(finished, identity)
        if state is None:
            log = train(
                method,
                examples_for(method, data, params.augment),
                step.training,
                seed=seed_for("tune", number, job.seed),  # other batches and draws in each step
                checkpoint=checkpoints / f"tune-{number}.pt",
                identity=identity,
                device=device,
                show_progress=show_progress,
            )
            state = {"identity": identity, "method": method.state_dict(), "log": vars(log)}
            save_checkpoint(finished, state)
        method.load_state_dict(state["method"])
        _append(whole, TrainingLog(**state["log"]), number)
    write_run(layout.run("tune", job), method, whole, params, code, data.meta.hash, device, meter)
    for path in checkpoints.glob("tune-*.pt"):
        path.unlink()


def _method_on(start: Path, params: TuneParams, data: Prepared, seed: int) -> ContrastiveTuning:
    """The method with a fresh head on the encoder that ``pretrain`` left in ``start``."""
    pretrained = load_method(start, params.start, data, seed)
    method = build_method(params, data, seed)
    assert isinstance(method, ContrastiveTuning)
    method.encoder.load_state_dict(pretrained.encoder.state_dict())
    return method


def _append(whole: TrainingLog, log: TrainingLog, number: int) -> None:
    whole.history += [{"tuning_step": float(number), **entry} for entry in log.history]
    whole.warnings += [f"tuning step {number}: {warning}" for warning in log.warnings]
    whole.steps += log.steps
    whole.seconds += log.seconds
