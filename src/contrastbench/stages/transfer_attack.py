"""Stage ``transfer_attack``: the matrix source x target over all attacked methods of one (track, data set, seed)."""

import hashlib

import torch

from contrastbench.errors import UserError
from contrastbench.evaluation.robustness import Target
from contrastbench.evaluation.transfer import transfer_matrix
from contrastbench.evaluation.verdicts import PartialStore
from contrastbench.files import file_hash
from contrastbench.jobs.cache import training_record
from contrastbench.jobs.classify import load_classifier, trained_method
from contrastbench.jobs.context import RowWriter
from contrastbench.modalities import modality_of
from contrastbench.params.base import params_hash
from contrastbench.pipeline.grid import Grid
from contrastbench.stages.attack import suite


def transfer_attack(grid: Grid, track: str, dataset: str, seed: int, *, device: str = "cpu") -> None:
    """Write one row per (source, target): method = target, protocol = ``transfer-from-SOURCE@EPS``."""
    jobs = grid.attacked_jobs(track, dataset, seed)
    if not jobs:
        raise UserError(f"{track}, {dataset}, seed {seed}: no method to attack")
    params, data = suite(grid, jobs[0])
    labels = data.y("test")
    assert labels is not None
    targets, weights = {}, []
    for job in jobs:
        path = grid.layout.run("attack", job) / f"{grid.attack_heads(job)[0]}.safetensors"
        classifier = load_classifier(path, trained_method(grid, job, data)).to(torch.device(device))
        weights.append(file_hash(path))
        targets[job.method] = Target(
            classifier, data.x("test"), labels, modality_of(data).inputs, torch.device(device), seed, params.batch_size
        )
    eps = params.budget(dataset).main
    code = grid.code("transfer_attack", jobs[0])
    identity = hashlib.sha256("/".join([*weights, data.meta.hash, params_hash(params), code]).encode()).hexdigest()
    store = PartialStore(grid.layout.stage("checkpoints", track) / dataset / "transfer-attack" / str(seed), identity)
    matrix = transfer_matrix(targets, store, eps=eps, steps=params.steps.pgd, count=params.images.transfer)
    for job in jobs:
        pretrain = grid.pretrain_params(job)
        assert pretrain is not None
        trained_on, common = training_record(grid, job)
        later = ("features", "attack", "transfer_attack")
        all_code = [*grid.training_code(job), *(grid.code(stage, job) for stage in later)]
        rows = RowWriter(grid.layout, "transfer_attack", job, [pretrain, params], all_code, data.meta.hash, trained_on)
        for source in targets:
            lines = [*common.get("failed_checks", []), *matrix.failed_checks(source, job.method)]
            detail = {"source": source, "norm": "linf", "eps": eps} | ({"failed_checks": lines} if lines else {})
            protocol = grid.transfer_protocol(source, eps)
            rows.accuracy(protocol, matrix.stands[source][job.method], detail, "robust-top1")
    store.clear()
