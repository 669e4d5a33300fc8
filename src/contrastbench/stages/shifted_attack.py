"""Stage ``shifted_attack``: an encoder trained on one data set, a linear classifier of another one under attack."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from contrastbench.evaluation.verdicts import PartialStore
from contrastbench.files import file_hash
from contrastbench.jobs.classifiers import withstanding_best
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

HEAD = "slf"  # of supervised methods as well: their own classifier names other classes


class Adapted(nn.Module):
    """An ``encoder`` of images of another size, which ``adapt`` scales: an attack perturbs them at their own size."""

    def __init__(self, encoder: nn.Module, adapt: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.encoder, self.adapt = encoder, adapt

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, D) of images (B, C, H, W)."""
        return self.encoder(self.adapt(images))


def shifted_attack(grid: Grid, job: Job, runtime: Runtime) -> list[Row]:
    """Fit a linear classifier of the judged data on a job's frozen encoder, and attack it at their main radius.

    Both the classifier and the perturbations see the judged images at their own size.
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
    classifier, chosen = withstanding_best(there, encoder, labelled(features, data, "train"), data, params, device)
    weights = file_hash(grid.trained(job) / "model.safetensors")
    made_from = [weights, data.meta.hash, params_hash(params), grid.asked_code("shifted_attack", job)]
    store = PartialStore(grid.layout.run("checkpoints", job) / "shifted-attack", " ".join(made_from))
    of_clean = {"by_C": chosen.pop("by_C")}
    judge(classifier, HEAD, chosen, of_clean, there, data, params, store, rows, runtime, variant=True)
    store.clear()
    return rows.rows
