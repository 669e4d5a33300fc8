"""Stage ``pretrain``: train one method on one data set with one seed."""

from contrastbench.errors import UserError
from contrastbench.jobs.examples import examples_for
from contrastbench.jobs.meter import Meter
from contrastbench.jobs.runtime import Runtime
from contrastbench.jobs.validation_knn import learning_curve
from contrastbench.jobs.weights import build_method, required_params, training_data, write_run
from contrastbench.params.base import params_hash
from contrastbench.params.evaluation import ScratchParams
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.pipeline.records import asked_record
from contrastbench.training.loop import train
from contrastbench.training.processes import writes_files
from contrastbench.training.record import TrainingLog


def pretrain(grid: Grid, job: Job, runtime: Runtime) -> None:
    """Train and leave ``model.safetensors``, ``history.csv`` and ``run.json`` in the job's folder.

    A killed run continues from its checkpoint. An imported checkpoint is read here and nowhere else; what is recorded
    of it is its contents.
    """
    params = required_params(grid, job)
    if not isinstance(params, ScratchParams):
        raise UserError(f"{job.method} starts from trained weights: run `contrastbench tune`")
    meter = Meter()
    data = training_data(grid, job)
    made_from = asked_record(grid, job, data.meta.hash)
    method = build_method(grid.track(job.track).pretrain(job.method, job.dataset), data, job.seed)
    method.import_weights()
    log = TrainingLog()
    checkpoint = grid.layout.run("checkpoints", job) / "pretrain.pt"
    if method.trains:
        log = train(
            method,
            examples_for(method, data, params.augment),
            params.training,
            seed=job.seed,
            checkpoint=checkpoint,
            identity="-".join(
                [params_hash(params), grid.code("pretrain", job), data.contents, *grid.history_state(job)]
            ),
            device=runtime.device,
            show_progress=runtime.show_progress,
            curve=learning_curve(grid.track(job.track), data, runtime.device),
        )
    if writes_files():
        write_run(grid, job, method, log, runtime.device, meter, made_from)
        checkpoint.unlink(missing_ok=True)
