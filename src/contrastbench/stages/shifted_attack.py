"""Stage ``shifted_attack``: an encoder trained on one data set, classifiers of another one under attack."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from contrastbench.evaluation.verdicts import PartialStore
from contrastbench.files import file_hash
from contrastbench.jobs.classifiers import fit_head
from contrastbench.jobs.features_file import labelled
from contrastbench.jobs.judged import features_on
from contrastbench.jobs.rows import RowWriter
from contrastbench.jobs.runtime import Runtime
from contrastbench.jobs.weights import load_trained, training_data
from contrastbench.modalities import modality_of
from contrastbench.params.base import params_hash
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.results.rows import Row
from contrastbench.stages.attack import judge


class Adapted(nn.Module):
    """An ``encoder`` of images of another size, which ``adapt`` scales: an attack perturbs them at their own size."""

    def __init__(self, encoder: nn.Module, adapt: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.encoder, self.adapt = encoder, adapt

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, D) of images (B, C, H, W)."""
        return self.encoder(self.adapt(images))


def shifted_attack(grid: Grid, job: Job, runtime: Runtime) -> list[Row]:
    """Fit every head to the judged data on a job's encoder, and attack it at their main radius.

    Supervised methods get these heads as well: their own classifier names other classes. Both the classifiers and the
    perturbations see the judged images at their own size.
    """
    suite = grid.track(job.track).robustness
    assert suite is not None
    params, device = suite.on(job.trained.dataset, job.judged), torch.device(runtime.device)
    features, data = features_on(grid, job, runtime.device)
    rows = RowWriter(grid, "shifted_attack", job, data.meta.hash)
    kind = modality_of(data)
    adapt = kind.adaptation(kind.input_shape(data), kind.input_shape(training_data(grid, job)))
    encoder = Adapted(load_trained(grid, job).encoder, adapt).to(device)
    there = replace(job, dataset=job.judged)
    weights = file_hash(grid.trained(job) / "model.safetensors")
    made_from = " ".join([weights, data.meta.hash, params_hash(params), grid.asked_code("shifted_attack", job)])
    stores = []
    for head in params.heads:
        store = PartialStore(grid.layout.run("checkpoints", job) / f"shifted-attack-{head}", made_from)
        stores.append(store)
        train = labelled(features, data, "train")
        classifier, chosen = fit_head(there, head, data, encoder, train, params, device)
        of_clean = {name: chosen.pop(name) for name in ("by_C",) if name in chosen}
        judge(classifier, head, chosen, of_clean, there, data, params, store, rows, runtime, variant=True)
    for store in stores:
        store.clear()
    return rows.rows
