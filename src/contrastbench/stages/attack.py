"""Stage ``attack``: classifiers on one trained encoder, every attack of the suite on them, and the rows.

Leaves ``HEAD.safetensors`` (the classifier), ``HEAD.npz`` (the verdict on every image, evaluation/verdicts.py)
and one row per protocol. What is finished lies in the checkpoint folder until the stage ends, so that a killed
stage continues where it stood.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import binom

from contrastbench.attacks.autoattack import STANDARD
from contrastbench.datasets.store import Prepared, open_prepared
from contrastbench.errors import UserError
from contrastbench.evaluation.classifiers import Classifier, check_logits
from contrastbench.evaluation.robustness import Target, evaluate, failed_checks, minimal_distance, worst_cases
from contrastbench.evaluation.verdicts import PartialStore, Verdict, robust, write_verdicts
from contrastbench.files import file_hash
from contrastbench.jobs.cache import training_record
from contrastbench.jobs.classify import fit_classifier, load_classifier, ready, save_classifier, trained_method
from contrastbench.jobs.context import RowWriter
from contrastbench.modalities import modality_of
from contrastbench.params.base import params_hash
from contrastbench.params.robustness import Cell, RobustnessParams, protocol_of
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job


def suite(grid: Grid, job: Job) -> tuple[RobustnessParams, Prepared]:
    """The suite's parameters and the data of ``job``.

    UserError for a track without a suite, a data set without radii, and data that are not images.
    """
    params = grid.robustness(job.track)
    if params is None:
        raise UserError(f"track {job.track!r} has no section `robustness`; the suite runs on swaro")
    params.budget(job.dataset)
    data = open_prepared(grid.data_folder(job))
    if data.meta.modality != "image":
        raise UserError(f"{job.dataset}: the robustness suite attacks images")
    return params, data


def attack(grid: Grid, job: Job, *, device: str = "cpu", progress: Callable[[str], None] = lambda _: None) -> None:
    """Fit, attack and judge every head of one trained method, and write its rows."""
    params, data = suite(grid, job)
    pretrain = grid.pretrain_params(job)
    if pretrain is None:
        raise UserError(f"{job.method}: a reference row without an encoder; there is nothing to attack")
    trained_on, common = training_record(grid, job)
    code = [*grid.training_code(job), *(grid.code(stage, job) for stage in ("features", "attack"))]
    rows = RowWriter(grid.layout, "attack", job, [pretrain, params], code, data.meta.hash, trained_on)
    weights = file_hash(grid.weights(job)[0])
    identity = hashlib.sha256("/".join([weights, data.meta.hash, params_hash(params), *code]).encode()).hexdigest()
    stores = []
    for head in grid.attack_heads(job):
        store = PartialStore(grid.layout.run("checkpoints", job) / f"attack-{head}", identity)
        stores.append(store)
        target, chosen = _target(grid, job, head, data, params, store, torch.device(device))
        cells = params.cells(job.dataset, head)

        def tell(line: str, head: str = head) -> None:
            progress(f"{head} {line}")

        verdicts = evaluate(target, cells, store, tell)
        failures = failed_checks(target, params, job.dataset, head, verdicts)
        about = HeadRows(
            rows,
            head,
            {"head": head, **chosen},
            common.get("failed_checks", []),
            failures,
            dimensions=int(np.prod(data.x("test").shape[1:])),
        )
        for cell in cells:
            about.write(cell, verdicts[cell.name])
        for eps, stands in worst_cases(cells, verdicts, params.worst_case_radii(job.dataset)).items():
            about.write_worst_case(eps, stands, cells)
        write_verdicts(grid.layout.run("attack", job) / f"{head}.npz", verdicts)
    for store in stores:
        store.clear()


def _target(
    grid: Grid, job: Job, head: str, data: Prepared, params: RobustnessParams, store: PartialStore, device: torch.device
) -> tuple[Target, dict]:
    """The classifier, fitted or as a killed run left it, with the test images that it is attacked on."""
    labels = data.y("test")
    assert labels is not None
    kept = store.folder / "classifier.safetensors"
    chosen = {name: float(value) for name, value in store.load("chosen").items()}
    method = trained_method(grid, job, data)
    classifier: Classifier
    if kept.is_file():
        classifier = load_classifier(kept, method).to(device)
    else:
        classifier, chosen = fit_classifier(grid, job, head, data, method, params, device)
        store.save("chosen", {name: np.asarray(value) for name, value in chosen.items()})
        save_classifier(kept, classifier)
    save_classifier(grid.layout.run("attack", job) / f"{head}.safetensors", classifier)
    target = Target(
        ready(classifier), data.x("test"), labels, modality_of(data).inputs, device, job.seed, params.batch_size
    )
    check_logits(classifier, target.images(0, min(64, len(labels)))[0])
    return target, chosen


@dataclass
class HeadRows:
    """Writes the rows of one head.

    warnings    what training warned of: they concern every row
    failures    failed checks by cell name; under ``""`` those that concern every attack on the head
    dimensions  numbers in one image: bounds the distance of an image that no attack broke
    """

    rows: RowWriter
    head: str
    chosen: dict
    warnings: list[str]
    failures: dict[str, list[str]]
    dimensions: int

    def write(self, cell: Cell, verdict: Verdict) -> None:
        """The row of one attack: robust accuracy, or the median distance of a search for the smallest perturbation."""
        protocol = protocol_of(self.head, cell.name)
        facts: dict = {"norm": cell.norm, "eps": cell.eps, "steps": cell.steps}
        facts |= {"passes": verdict.passes, "seconds": round(verdict.seconds, 3)}
        if cell.kind == "autoattack" and verdict.broken_by is not None:
            facts |= {"broken_by": {name: int((verdict.broken_by == at).sum()) for at, name in enumerate(STANDARD)}}
        if cell.kind == "clean":
            self.rows.accuracy(protocol, robust(verdict), self._detail(facts, []))
            return
        detail = self._detail(facts, [*self.failures[""], *self.failures[cell.name]])
        if cell.eps is None:
            distances = minimal_distance(verdict, self.dimensions)
            value, interval = median_interval(distances)
            self.rows.value(protocol, "median-distance", value, len(distances), interval, detail=detail)
        else:
            self.rows.accuracy(protocol, robust(verdict), detail, "robust-top1")

    def write_worst_case(self, eps: float, stands: np.ndarray, cells: list[Cell]) -> None:
        """The row of all l_inf attacks up to ``eps`` together; it inherits their failed checks."""
        lines = [line for cell in cells if cell.norm == "linf" for line in self.failures[cell.name]]
        detail = self._detail({"norm": "linf", "eps": eps}, [*self.failures[""], *lines])
        self.rows.accuracy(protocol_of(self.head, f"worst-case@{eps:.4g}"), stands, detail, "robust-top1")

    def _detail(self, facts: dict, lines: list[str]) -> dict:
        lines = [*self.warnings, *lines]
        return self.chosen | facts | ({"failed_checks": lines} if lines else {})


def median_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, tuple[float, float]]:
    """The median of ``values`` (n,) and its order-statistics interval, which assumes nothing about their shape."""
    ordered = np.sort(values)
    below = int(binom.ppf((1 - confidence) / 2, len(ordered), 0.5))
    above = len(ordered) - 1 - below
    return float(np.median(ordered)), (
        float(ordered[max(0, below - 1)]),
        float(ordered[min(len(ordered) - 1, above + 1)]),
    )
