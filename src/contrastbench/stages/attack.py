"""Stage ``attack``: classifiers on one trained encoder, every attack of the suite on them, and the rows.

Leaves the classifiers of all heads, and the verdict on every image (evaluation/verdicts.py). What is finished lies in
the checkpoint folder until the stage ends, so that a killed stage continues where it stopped.
"""

import json
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from contrastbench.attacks.autoattack import FEWEST_CLASSES
from contrastbench.attacks.folding import folded
from contrastbench.datasets.store import Prepared
from contrastbench.evaluation.checks import failed_checks
from contrastbench.evaluation.classifiers import Classifier, check_logits
from contrastbench.evaluation.intervals import median_interval
from contrastbench.evaluation.robustness import (
    AUTOATTACK,
    WITH_GRADIENTS,
    Victim,
    evaluate,
    minimal_distance,
    survivors,
)
from contrastbench.evaluation.suite import AttackSpec, attacks_on, worst_cases
from contrastbench.evaluation.verdicts import PartialStore, Verdict, write_verdicts
from contrastbench.jobs.classifiers import (
    FILE,
    fit_classifier,
    load_classifier,
    origin_of_classifiers,
    ready,
    save_classifiers,
    state_of,
)
from contrastbench.jobs.rows import RowWriter
from contrastbench.jobs.runtime import Runtime
from contrastbench.jobs.suite import suite
from contrastbench.jobs.training_cost import training_cost
from contrastbench.jobs.weights import load_trained, required_params
from contrastbench.modalities import modality_of
from contrastbench.params.robustness import RobustnessParams
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.results.protocols import Protocol
from contrastbench.results.rows import Row


def attack(grid: Grid, job: Job, runtime: Runtime) -> list[Row]:
    """Fit, attack and judge every head of one trained method: a row for each attack."""
    required_params(grid, job)
    params, data = suite(grid, job)
    rows = RowWriter(grid, "attack", job, data.meta.hash)
    origin = origin_of_classifiers(grid, job, data)
    cost = training_cost(grid, job, data, torch.device(runtime.device))
    stores, classifiers = [], {}
    everything: dict[str, Verdict] = {}
    track = grid.track(job.track)
    variant = job.method not in track.methods
    for head in params.heads_of(track.base_method(job.method), variant=variant):
        store = PartialStore(grid.layout.run("checkpoints", job) / f"attack-{head}", origin)
        stores.append(store)
        classifier, chosen = _classifier(grid, job, head, data, params, store, torch.device(runtime.device))
        classifiers[head] = state_of(classifier)
        of_clean = cost | {name: chosen.pop(name) for name in ("by_C",) if name in chosen}
        verdicts = judge(classifier, head, chosen, of_clean, job, data, params, store, rows, runtime, variant=variant)
        everything |= {f"{head}/{name}": verdict for name, verdict in verdicts.items()}
    save_classifiers(grid.layout.run("attack", job) / FILE, classifiers, origin)
    write_verdicts(grid.layout.run("attack", job) / "verdicts.npz", everything)
    for store in stores:
        store.clear()
    return rows.rows


def judge(
    classifier: nn.Module,
    head: str,
    chosen: dict,
    of_clean: dict,
    job: Job,
    data: Prepared,
    params: RobustnessParams,
    store: PartialStore,
    rows: RowWriter,
    runtime: Runtime,
    *,
    variant: bool = False,
) -> dict[str, Verdict]:
    """Attack one classifier with what its ``head`` gets, and add its rows to ``rows``; the verdicts by attack.

    chosen    what was chosen for the classifier, which every row says
    of_clean  what rows of clean accuracy say besides
    store     what a killed run has finished
    variant   whether to attack it with less, as what is not among the track's methods
    """
    victim = _victim(classifier, job, data, params, torch.device(runtime.device))
    attacks = attacks_on(params, job.dataset, head, variant=variant)
    verdicts = evaluate(victim, attacks, store, lambda line: runtime.tell(f"{head} {line}"))
    failures = failed_checks(victim, params, job.dataset, attacks, verdicts)
    chosen = chosen | {"drawn_from": len(victim.y)}
    about = HeadRows(rows, head, chosen, failures, of_clean, data.x("test")[0].size, len(data.meta.classes))
    for spec in attacks:
        if spec.kind == "apgd":
            about.write(spec, verdicts[spec.name], survivors(attacks, verdicts, spec.ball, WITH_GRADIENTS))
        elif spec.has_row:
            about.write(spec, verdicts[spec.name], verdicts[spec.name].robust)
    for ball in worst_cases(attacks):
        about.write_worst_case(*ball, survivors(attacks, verdicts, ball))
    return verdicts


def _classifier(
    grid: Grid, job: Job, head: str, data: Prepared, params: RobustnessParams, store: PartialStore, device: torch.device
) -> tuple[Classifier, dict]:
    """The classifier, fitted or as a killed run left it, and what was chosen for it."""
    kept = store.folder / "classifier.safetensors"
    method = load_trained(grid, job)
    if kept.is_file():
        return load_classifier(kept, method, head).to(device), json.loads(str(store.load("chosen")["json"]))
    classifier, chosen = fit_classifier(grid, job, head, data, method, params, device)
    store.save("chosen", {"json": np.asarray(json.dumps(chosen))})
    save_classifiers(kept, {head: state_of(classifier)}, store.identity)
    return classifier, chosen


def _victim(classifier: nn.Module, job: Job, data: Prepared, params: RobustnessParams, device: torch.device) -> Victim:
    """The classifier, with BatchNorm folded, and the test images that it is attacked on."""
    labels = data.y("test")
    assert labels is not None
    victim = Victim(
        ready(classifier), data.x("test"), labels, modality_of(data).inputs, device, job.seed, params.batch_size
    )
    images = victim.images(0, min(64, len(labels)))[0]
    check_logits(classifier, images)
    return replace(victim, model=folded(classifier, images))


@dataclass
class HeadRows:
    """Adds the rows of one head.

    chosen      what every row says: what was chosen for the head, and ``drawn_from`` (results/rows.py)
    failures    failed checks by attack; under ``""`` those that concern every attack on the head
    of_clean    what rows of clean accuracy say besides: the cost of the encoder's training, and what the choice was
                made from (``by_C``)
    dimensions  numbers in one image: bounds the distance of an image that no attack broke
    classes     of the data set
    """

    rows: RowWriter
    head: str
    chosen: dict
    failures: dict[str, list[str]]
    of_clean: dict
    dimensions: int
    classes: int

    def write(self, spec: AttackSpec, verdict: Verdict, robust: np.ndarray) -> None:
        """The row of one attack: the share of ``robust`` images (n,), or the median of the smallest perturbations."""
        clean = spec.kind == "clean"
        norm = None if clean else spec.norm
        protocol = Protocol(family=spec.kind, head=self.head, norm=norm, eps=spec.eps, steps=spec.steps or None)
        detail = self.chosen | {"passes": verdict.passes, "seconds": round(verdict.seconds, 3)}
        detail |= self.of_clean if clean else {}
        if spec.kind in ("autoattack", "apgd") and verdict.broken_by is not None:
            parts = AUTOATTACK[spec.kind]
            detail |= {"broken_by": {name: int((verdict.broken_by == at).sum()) for at, name in enumerate(parts)}}
            if self.classes < FEWEST_CLASSES:
                detail |= {"left_out": f"apgd-t: its loss needs {FEWEST_CLASSES} classes"}
        failed = [] if clean else [*self.failures[""], *self.failures[spec.name]]
        if clean or spec.eps is not None:
            self.rows.accuracy(protocol, robust, detail, failed, "top1" if clean else "robust-top1")
            return
        distances = minimal_distance(verdict, self.dimensions)
        value, interval = median_interval(distances)
        self.rows.value(protocol, "median-distance", value, len(distances), interval, detail=detail, failed=failed)

    def write_worst_case(self, norm: str, eps: float, robust: np.ndarray) -> None:
        """The row of all attacks within one ball together: which images (n,) are ``robust``."""
        failed = [*self.failures[""], *self.failures[f"worst-case-{norm}@{eps:.4g}"]]
        protocol = Protocol(family="worst-case", head=self.head, norm=norm, eps=eps)
        self.rows.accuracy(protocol, robust, self.chosen, failed, "robust-top1")
