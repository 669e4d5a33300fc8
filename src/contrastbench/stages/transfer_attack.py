"""Stage ``transfer_attack``: the matrix source x target over all attacked methods of one (track, data set, seed)."""

import hashlib

import torch

from contrastbench.errors import UserError
from contrastbench.evaluation.robustness import Victim
from contrastbench.evaluation.transfer import transfer_matrix
from contrastbench.evaluation.verdicts import PartialStore
from contrastbench.files import file_hash
from contrastbench.jobs.classifiers import FILE, attacked_classifier
from contrastbench.jobs.rows import RowWriter
from contrastbench.jobs.runtime import Runtime
from contrastbench.jobs.suite import suite
from contrastbench.modalities import modality_of
from contrastbench.params.base import params_hash
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.results.protocols import Protocol
from contrastbench.results.rows import Row


def transfer_attack(grid: Grid, job: Job, runtime: Runtime) -> list[Row]:
    """One row per (source, target) of the job's methods: method = target, protocol = ``transfer-from-SOURCE@EPS``."""
    jobs = grid.members("transfer_attack", job)
    if not jobs:
        raise UserError(f"{job.name}: no method to attack")
    params, data = suite(grid, jobs[0])
    labels, device = data.y("test"), torch.device(runtime.device)
    assert labels is not None
    victims, weights = {}, []
    for each in jobs:
        classifier = attacked_classifier(grid, each, data).to(device)
        weights.append(file_hash(grid.layout.run("attack", each) / FILE))
        victims[each.method] = Victim(
            classifier, data.x("test"), labels, modality_of(data).inputs, device, job.seed, params.batch_size
        )
    eps = params.budget(job.dataset).main
    code = grid.code("transfer_attack", jobs[0])
    identity = hashlib.sha256("/".join([*weights, data.meta.hash, params_hash(params), code]).encode()).hexdigest()
    store = PartialStore(grid.layout.run("checkpoints", job) / "transfer-attack", identity)
    steps = params.steps
    matrix = transfer_matrix(
        victims, store, eps=eps, steps=steps.pgd, step_size=steps.step_fraction * eps, count=params.images.transfer
    )
    found = []
    for each in jobs:
        rows = RowWriter(grid, "transfer_attack", each, data.meta.hash)
        for source in victims:
            protocol = Protocol(family="transfer", source=source, norm="linf", eps=eps)
            failed = matrix.failed_checks(source, each.method)
            detail = {"drawn_from": len(labels)}
            rows.accuracy(protocol, matrix.robust[source][each.method], detail, failed, "robust-top1")
        found += rows.rows
    store.clear()
    return found
