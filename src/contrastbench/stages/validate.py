"""Stage ``validate``: a trained encoder's classifier under PGD on validation images, for choices of training."""

import torch

from contrastbench.attacks.pgd import pgd
from contrastbench.jobs.classifiers import fit_classifier, ready
from contrastbench.jobs.rows import RowWriter
from contrastbench.jobs.runtime import Runtime
from contrastbench.jobs.suite import suite
from contrastbench.jobs.weights import load_trained
from contrastbench.modalities import modality_of
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.results.protocols import Protocol
from contrastbench.results.rows import Row
from contrastbench.training.seeds import generator_for


def validate(grid: Grid, job: Job, runtime: Runtime) -> list[Row]:
    """One row: accuracy of the standard linear head, or of a supervised method's own, at the main radius.

    The attack is l_inf PGD on all validation images, with the suite's steps.
    """
    device = torch.device(runtime.device)
    params, data = suite(grid, job)
    head = params.heads_of(grid.track(job.track).base_method(job.method), variant=True)[0]
    classifier, chosen = fit_classifier(grid, job, head, data, load_trained(grid, job), params, device)
    labels = data.y("validation")
    assert labels is not None
    eps, steps = params.budget(job.dataset).main, params.steps.pgd
    attacked = pgd(
        ready(classifier),
        modality_of(data).inputs(data.x("validation"), device),
        torch.tensor(labels, device=device),
        eps=eps,
        steps=steps,
        step_size=eps * params.steps.step_fraction,
        generator=generator_for(device, "validate", job.seed),
        batch_size=params.batch_size,
    )
    rows = RowWriter(grid, "validate", job, data.meta.hash)
    protocol = Protocol(family="validation-pgd", head=head, norm="linf", eps=eps, steps=steps)
    rows.accuracy(protocol, (~attacked.fooled).cpu().numpy(), chosen, metric="robust-top1")
    return rows.rows
