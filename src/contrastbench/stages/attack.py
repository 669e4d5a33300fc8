"""Stage ``attack``: classifiers on one trained encoder, every attack of the suite on them, and the rows.

Leaves the classifiers of all heads, and the verdict on every image (evaluation/verdicts.py). What is finished lies in
the checkpoint folder until the stage ends, so that a killed stage continues where it stopped.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import binom

from contrastbench.attacks.autoattack import STANDARD
from contrastbench.datasets.store import Prepared
from contrastbench.evaluation.classifiers import Classifier, check_logits
from contrastbench.evaluation.robustness import Target, evaluate, failed_checks, minimal_distance, worst_cases
from contrastbench.evaluation.verdicts import PartialStore, Verdict, robust, write_verdicts
from contrastbench.files import file_hash
from contrastbench.jobs.classifiers import FILE, fit_classifier, load_classifier, ready, save_classifiers, state_of
from contrastbench.jobs.modality import to_tensor_for
from contrastbench.jobs.rows import RowWriter
from contrastbench.jobs.runtime import Runtime
from contrastbench.jobs.suite import suite
from contrastbench.jobs.weights import load_trained, required_params
from contrastbench.params.base import params_hash
from contrastbench.params.robustness import Cell, RobustnessParams
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.results.protocols import Protocol
from contrastbench.results.rows import Row


def attack(grid: Grid, job: Job, runtime: Runtime) -> list[Row]:
    """Fit, attack and judge every head of one trained method: a row for each attack."""
    required_params(grid, job)
    params, data = suite(grid, job)
    rows = RowWriter(grid, "attack", job, data.meta.hash)
    weights = file_hash(grid.trained(job) / "model.safetensors")
    facts = [weights, data.meta.hash, params_hash(params), grid.asked_code("attack", job)]
    identity = hashlib.sha256("/".join(facts).encode()).hexdigest()
    stores, classifiers = [], {}
    everything: dict[str, Verdict] = {}
    for head in params.heads_of(grid.track(job.track).base_method(job.method)):
        store = PartialStore(grid.layout.run("checkpoints", job) / f"attack-{head}", identity)
        stores.append(store)
        target, chosen = _target(grid, job, head, data, params, store, torch.device(runtime.device))
        classifiers[head] = state_of(target.model)
        cells = params.cells(job.dataset, head)

        def tell(line: str, head: str = head) -> None:
            runtime.tell(f"{head} {line}")

        verdicts = evaluate(target, cells, store, tell)
        failures = failed_checks(target, params, job.dataset, head, verdicts)
        about = HeadRows(rows, head, chosen, failures, dimensions=int(np.prod(data.x("test").shape[1:])))
        for cell in cells:
            about.write(cell, verdicts[cell.name])
        for eps, stands in worst_cases(cells, verdicts, params.worst_case_radii(job.dataset)).items():
            about.write_worst_case(eps, stands, cells)
        everything |= {f"{head}/{name}": verdict for name, verdict in verdicts.items()}
    save_classifiers(grid.layout.run("attack", job) / FILE, classifiers)
    write_verdicts(grid.layout.run("attack", job) / "verdicts.npz", everything)
    for store in stores:
        store.clear()
    return rows.rows


def _target(
    grid: Grid, job: Job, head: str, data: Prepared, params: RobustnessParams, store: PartialStore, device: torch.device
) -> tuple[Target, dict]:
    """The classifier, fitted or as a killed run left it, with the test images that it is attacked on."""
    labels = data.y("test")
    assert labels is not None
    kept = store.folder / "classifier.safetensors"
    chosen = {name: float(value) for name, value in store.load("chosen").items()}
    method = load_trained(grid, job)
    classifier: Classifier
    if kept.is_file():
        classifier = load_classifier(kept, method, head).to(device)
    else:
        classifier, chosen = fit_classifier(grid, job, head, data, method, params, device)
        store.save("chosen", {name: np.asarray(value) for name, value in chosen.items()})
        save_classifiers(kept, {head: state_of(classifier)})
    target = Target(ready(classifier), data.x("test"), labels, to_tensor_for(data), device, job.seed, params.batch_size)
    check_logits(classifier, target.images(0, min(64, len(labels)))[0])
    return target, chosen


@dataclass
class HeadRows:
    """Adds the rows of one head.

    chosen      what was chosen for the head, which every row says
    failures    failed checks by cell name; under ``""`` those that concern every attack on the head
    dimensions  numbers in one image: bounds the distance of an image that no attack broke
    """

    rows: RowWriter
    head: str
    chosen: dict
    failures: dict[str, list[str]]
    dimensions: int

    def write(self, cell: Cell, verdict: Verdict) -> None:
        """The row of one attack: robust accuracy, or the median distance of a search for the smallest perturbation."""
        clean = cell.kind == "clean"
        norm = None if clean else cell.norm
        protocol = Protocol(family=cell.kind, head=self.head, norm=norm, eps=cell.eps, steps=cell.steps or None)
        detail = self.chosen | {"passes": verdict.passes, "seconds": round(verdict.seconds, 3)}
        if cell.kind == "autoattack" and verdict.broken_by is not None:
            broken_by = {name: int((verdict.broken_by == at).sum()) for at, name in enumerate(STANDARD)}
            detail |= {"broken_by": broken_by}
        failed = [] if clean else [*self.failures[""], *self.failures[cell.name]]
        if clean or cell.eps is not None:
            self.rows.accuracy(protocol, robust(verdict), detail, failed, "top1" if clean else "robust-top1")
            return
        distances = minimal_distance(verdict, self.dimensions)
        value, interval = median_interval(distances)
        self.rows.value(protocol, "median-distance", value, len(distances), interval, detail=detail, failed=failed)

    def write_worst_case(self, eps: float, stands: np.ndarray, cells: list[Cell]) -> None:
        """The row of all l_inf attacks up to ``eps`` together; it inherits their failed checks."""
        lines = [line for cell in cells if cell.norm == "linf" for line in self.failures[cell.name]]
        protocol = Protocol(family="worst-case", head=self.head, norm="linf", eps=eps)
        self.rows.accuracy(protocol, stands, self.chosen, [*self.failures[""], *lines], "robust-top1")


def median_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, tuple[float, float]]:
    """The median of ``values`` (n,) and its order-statistics interval, which assumes nothing about their shape."""
    ordered = np.sort(values)
    below = int(binom.ppf((1 - confidence) / 2, len(ordered), 0.5))
    above = len(ordered) - 1 - below
    return float(np.median(ordered)), (
        float(ordered[max(0, below - 1)]),
        float(ordered[min(len(ordered) - 1, above + 1)]),
    )
