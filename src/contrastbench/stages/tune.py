"""Stage ``tune``: progressive retraining of a masked autoencoder's encoder (uaMix-MAE, Fig-A), in two steps."""

from contrastbench.datasets.store import Prepared
from contrastbench.errors import UserError
from contrastbench.files import file_hash
from contrastbench.jobs.examples import examples_for
from contrastbench.jobs.meter import Meter
from contrastbench.jobs.runtime import Runtime
from contrastbench.jobs.validation_knn import learning_curve
from contrastbench.jobs.weights import build_method, load_trained, required_params, training_data, write_run
from contrastbench.methods import Method
from contrastbench.methods.contrastive_tuning import ContrastiveTuning
from contrastbench.params.audio_track import TuneParams
from contrastbench.params.base import params_hash
from contrastbench.params.tuning import EncoderStepParams, HeadStepParams
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.pipeline.records import asked_record
from contrastbench.training.checkpoint import load_checkpoint, save_checkpoint
from contrastbench.training.loop import train
from contrastbench.training.processes import writes_files
from contrastbench.training.record import TrainingLog
from contrastbench.training.seeds import seed_for


def tune(grid: Grid, job: Job, runtime: Runtime) -> None:
    """Learn the head on the frozen encoder, then the encoder's upper part with it.

    Starts from the weights that ``pretrain`` left for ``params.start`` with the same data set and seed. Leaves
    ``model.safetensors``, ``history.csv`` and ``run.json`` in the folder of ``tune``. A killed run continues in
    the step where it stopped.
    """
    params = required_params(grid, job)
    if not isinstance(params, TuneParams):
        raise UserError(f"{job.method} is trained from scratch: run `contrastbench pretrain`")
    meter = Meter()
    data, start = training_data(grid, job), grid.tuned_from(job)
    made_from = asked_record(grid, job, data.meta.hash)
    method = _method_on(load_trained(grid, start), params, data, job.seed)
    weights = file_hash(grid.trained(start) / "model.safetensors")
    identity = "-".join([params_hash(params), grid.code("tune", job), data.contents, weights, *grid.history_state(job)])
    curve = learning_curve(grid.track(job.track), data, runtime.device)
    checkpoints = grid.layout.run("checkpoints", job)

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
                device=runtime.device,
                show_progress=runtime.show_progress,
                curve=curve if isinstance(step, EncoderStepParams) else None,  # the head's step leaves the encoder
            )
            state = {"identity": identity, "method": method.state_dict(), "log": vars(log)}
            if writes_files():
                save_checkpoint(finished, state)
        method.load_state_dict(state["method"])
        _append(whole, TrainingLog(**state["log"]), number)
    if writes_files():
        write_run(grid, job, method, whole, runtime.device, meter, made_from)
        for path in checkpoints.glob("tune-*.pt"):
            path.unlink()


def _method_on(pretrained: Method, params: TuneParams, data: Prepared, seed: int) -> ContrastiveTuning:
    """The method with a fresh head on the pretrained encoder."""
    method = build_method(params, data, seed)
    assert isinstance(method, ContrastiveTuning)
    method.encoder.load_state_dict(pretrained.encoder.state_dict())
    return method


def _append(whole: TrainingLog, log: TrainingLog, number: int) -> None:
    whole.history += [{"tuning_step": float(number), **entry} for entry in log.history]
    whole.warnings += [f"tuning step {number}: {warning}" for warning in log.warnings]
    whole.steps += log.steps
    whole.seconds += log.seconds
