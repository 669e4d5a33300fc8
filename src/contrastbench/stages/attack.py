"""Stage ``attack``: classifiers on one trained encoder, every attack of the suite on them, and the rows.

Leaves the classifiers of all heads, and the verdict on every image (evaluation/verdicts.py). What is finished lies in
the checkpoint folder until the stage ends, so that a killed stage continues where it stopped.
"""

import json
from dataclasses import dataclass, replace

import numpy as np
import torch

from contrastbench.attacks.autoattack import STANDARD
from contrastbench.attacks.folding import folded
from contrastbench.datasets.store import Prepared
from contrastbench.evaluation.classifiers import Classifier, check_logits
from contrastbench.evaluation.intervals import median_interval
from contrastbench.evaluation.robustness import Victim, evaluate, failed_checks, minimal_distance, worst_cases
from contrastbench.evaluation.suite import AttackSpec, attacks_on
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
    stores, classifiers = [], {}
    everything: dict[str, Verdict] = {}
    for head in params.heads_of(grid.track(job.track).base_method(job.method)):
        store = PartialStore(grid.layout.run("checkpoints", job) / f"attack-{head}", origin)
        stores.append(store)
        classifier, chosen = _classifier(grid, job, head, data, params, store, torch.device(runtime.device))
        classifiers[head] = state_of(classifier)
        victim = _victim(classifier, job, data, params, torch.device(runtime.device))
        attacks = attacks_on(params, job.dataset, head)

        def tell(line: str, head: str = head) -> None:
            runtime.tell(f"{head} {line}")

        verdicts = evaluate(victim, attacks, store, tell)
        failures = failed_checks(victim, params, job.dataset, head, verdicts)
        about = HeadRows(rows, head, chosen, failures, dimensions=int(np.prod(data.x("test").shape[1:])))
        for spec in attacks:
            about.write(spec, verdicts[spec.name])
        for eps, robust in worst_cases(attacks, verdicts, params.worst_case_radii(job.dataset)).items():
            about.write_worst_case(eps, robust, attacks)
        everything |= {f"{head}/{name}": verdict for name, verdict in verdicts.items()}
    save_classifiers(grid.layout.run("attack", job) / FILE, classifiers, origin)
    write_verdicts(grid.layout.run("attack", job) / "verdicts.npz", everything)
    for store in stores:
        store.clear()
    return rows.rows


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


def _victim(classifier: Classifier, job: Job, data: Prepared, params: RobustnessParams, device: torch.device) -> Victim:
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

    chosen      what was chosen for the head, which every row says; what the choice was made from (``by_C``), only the
                row of clean images
    failures    failed checks by attack; under ``""`` those that concern every attack on the head
    dimensions  numbers in one image: bounds the distance of an image that no attack broke
    """

    rows: RowWriter
    head: str
    chosen: dict
    failures: dict[str, list[str]]
    dimensions: int

    def write(self, spec: AttackSpec, verdict: Verdict) -> None:
        """The row of one attack: robust accuracy, or the median distance of a search for the smallest perturbation."""
        clean = spec.kind == "clean"
        norm = None if clean else spec.norm
        protocol = Protocol(family=spec.kind, head=self.head, norm=norm, eps=spec.eps, steps=spec.steps or None)
        detail = (self.chosen if clean else self._choice) | {
            "passes": verdict.passes,
            "seconds": round(verdict.seconds, 3),
        }
        if spec.kind == "autoattack" and verdict.broken_by is not None:
            broken_by = {name: int((verdict.broken_by == at).sum()) for at, name in enumerate(STANDARD)}
            detail |= {"broken_by": broken_by}
        failed = [] if clean else [*self.failures[""], *self.failures[spec.name]]
        if clean or spec.eps is not None:
            self.rows.accuracy(protocol, verdict.robust, detail, failed, "top1" if clean else "robust-top1")
            return
        distances = minimal_distance(verdict, self.dimensions)
        value, interval = median_interval(distances)
        self.rows.value(protocol, "median-distance", value, len(distances), interval, detail=detail, failed=failed)

    def write_worst_case(self, eps: float, robust: np.ndarray, attacks: list[AttackSpec]) -> None:
        """The row of all l_inf attacks up to ``eps`` together; it inherits their failed checks."""
        lines = [line for spec in attacks if spec.norm == "linf" for line in self.failures[spec.name]]
        protocol = Protocol(family="worst-case", head=self.head, norm="linf", eps=eps)
        self.rows.accuracy(protocol, robust, self._choice, [*self.failures[""], *lines], "robust-top1")

    @property
    def _choice(self) -> dict:
        return {name: value for name, value in self.chosen.items() if name != "by_C"}
