"""Stage ``own_attack``: the user's own attacks on every classifier that the stage ``attack`` left."""

from copy import deepcopy
from dataclasses import replace
from importlib import import_module

import numpy as np
import torch
from torch import Tensor, nn

from contrastbench.attacks.folding import folded
from contrastbench.attacks.geometry import ImagePasses
from contrastbench.attacks.recount import recount
from contrastbench.errors import UserError
from contrastbench.evaluation.robustness import Victim
from contrastbench.jobs.rows import RowWriter
from contrastbench.jobs.runtime import Runtime
from contrastbench.jobs.suite import suite
from contrastbench.modalities import modality_of
from contrastbench.own_method import seed_libraries
from contrastbench.params.own_attacks import OwnAttack, own_attacks
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.registry import ATTACKS
from contrastbench.results.protocols import Protocol
from contrastbench.results.rows import Row
from contrastbench.stages.head_corruptions import attacked_classifiers
from contrastbench.training.seeds import generator_for, seed_for, seed_globally

OUTSIDE = "images outside the ball or [0, 1], or not finite, which count as not broken"


def own_attack(grid: Grid, job: Job, runtime: Runtime) -> list[Row]:
    """Attack a job's classifiers with every attack of the track's ``own_attacks``: a row for each head and radius."""
    track, (params, data) = grid.track(job.track), suite(grid, job)
    rows, device = RowWriter(grid, "own_attack", job, data.meta.hash), torch.device(runtime.device)
    labels = data.y("test")
    assert labels is not None
    for head, classifier in attacked_classifiers(grid, job, data).items():
        inputs = modality_of(data).inputs
        victim = Victim(classifier.to(device), data.x("test"), labels, inputs, device, job.seed, params.batch_size)
        victim = replace(victim, model=folded(victim.model, victim.images(0, min(64, len(labels)))[0]))
        for name, attack in own_attacks(track.own_attacks).items():
            count = min(attack.images or params.images.gradient, len(labels))
            for eps in attack.radii(name, params.budget(job.dataset)):
                protocol = Protocol(family="own-attack", attack=name, head=head, norm=ATTACKS[name].norm, eps=eps)
                given = deepcopy(victim.model)  # what the function changes of it is not what it is judged by
                with ImagePasses(given) as attacking, ImagePasses(victim.model) as judging:
                    broken, invalid = _run(victim, given, name, attack, eps, count)
                detail = {"passes": attacking.images + judging.images, "drawn_from": len(labels)}
                failed = [f"{invalid} {OUTSIDE}"] if invalid else []
                rows.accuracy(protocol, ~broken, detail, failed, "robust-top1")
                runtime.tell(f"{head} {protocol.name}: accuracy {1 - broken.mean():.1%}")
    return rows.rows


def _run(
    victim: Victim, given: nn.Module, name: str, attack: OwnAttack, eps: float, count: int
) -> tuple[np.ndarray, int]:
    """Which of the first ``count`` images an attack breaks within ``eps``, and how many it has put elsewhere.

    The attack is given the model ``given``, and a generator; other sources of chance are seeded alike all the same.
    """
    entry, settings = ATTACKS[name], attack.settings()
    function = import_module(entry.module).attack
    broken, invalid = [], 0
    for start in range(0, count, victim.batch_size):
        images, labels = victim.images(start, min(count, start + victim.batch_size))
        stream = ("own attack", name, victim.seed, f"{eps:.4g}", start)
        generator = generator_for(victim.device, *stream)
        seed_globally(victim.device, *stream)
        seed_libraries(seed_for(*stream))
        with torch.enable_grad():  # and as it was afterwards; copies, because what it writes there is its own affair
            found = function(given, images.clone(), labels.clone(), eps=eps, generator=generator, **settings)
        if not isinstance(found, Tensor) or found.shape != images.shape or not found.is_floating_point():
            shown = f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise UserError(f"attack {name!r} returned {shown}; expected the images, floats {tuple(images.shape)}")
        counted = recount(victim.model, images, found.detach().to(images), labels, eps=eps, norm=entry.norm)
        broken.append(counted.broken.cpu().numpy())
        invalid += int((~counted.valid).sum())
    return np.concatenate(broken), invalid
