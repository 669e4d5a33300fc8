"""Stage ``figures``: still images of what a track does to its inputs, for the report's gallery.

Track uamix: spectrograms as the autoencoder reconstructs them, and mixtures with their virtual labels.
Tracks with a robustness suite: adversarial images on the simplest method and on SwARo.
Tracks of graphs: a few graphs, and what each kind of augmentation makes of them.
"""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Generator, Tensor

from contrastbench.attacks.pgd import pgd
from contrastbench.augment.graph_batch import GraphBatch
from contrastbench.augment.graphs import augment_graphs
from contrastbench.augment.log_mel import SHIFT
from contrastbench.augment.mixing import mix
from contrastbench.datasets.base import SAMPLE_RATE
from contrastbench.datasets.store import Prepared
from contrastbench.errors import UserError
from contrastbench.evaluation.classifiers import Classifier
from contrastbench.evaluation.verdicts import attack_order
from contrastbench.jobs.classifiers import attacked_classifier
from contrastbench.jobs.runtime import Runtime
from contrastbench.jobs.weights import load_trained, training_data
from contrastbench.methods.mae import MAE
from contrastbench.modalities import modality_of
from contrastbench.models.masked_autoencoder import reconstruct
from contrastbench.params.graph_track import GraphTrack
from contrastbench.params.graphs import Kind
from contrastbench.params.settings_autoencoder import UaMixSettings
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.reporting.stills import (
    Attacked,
    DrawnGraph,
    Mixed,
    Reconstructed,
    draw_adversarial_examples,
    draw_graph_views,
    draw_mixtures,
    draw_reconstructions,
)
from contrastbench.training.seeds import generator_for

CLIPS = 4  # reconstructed
GRAPHS = 4
BATCH = 6  # clips that are mixed with each other
MIXTURES = 3
IMAGES = 4
CANDIDATES = 200  # test images that the attacked ones are taken from


def figures(grid: Grid, job: Job, runtime: Runtime) -> None:
    """Draw one still image; ``job.method`` is its name. UserError where :meth:`Grid.figure_jobs` does not list it."""
    drawn = {
        "reconstructions": draw_reconstructed_clips,
        "mixtures": draw_mixed_clips,
        "adversarial-examples": draw_attacked_images,
        "views": draw_views_of_graphs,
    }
    wanted = grid.figure_jobs(job.track, job.dataset, job.seed)
    if job.method not in wanted:
        known = ", ".join(wanted) or "none"
        raise UserError(
            f"{job.track}, {job.dataset}, seed {job.seed}: the preset {grid.preset!r} has no still image "
            f"{job.method!r} to draw of it; known: {known}"
        )
    shown = wanted[job.method]
    path = grid.figure(job.track, job.dataset, job.method, job.seed)
    drawn[job.method](grid, shown, training_data(grid, shown[0]), path, torch.device(runtime.device))
    runtime.tell(f"written: {path}")


def draw_reconstructed_clips(grid: Grid, jobs: list[Job], data: Prepared, path: Path, device: torch.device) -> None:
    """A few validation clips through the trained autoencoder, with the mask that its training uses."""
    (job,) = jobs
    method = load_trained(grid, job).to(device)
    assert isinstance(method, MAE)
    generator = generator_for(device, "figures", "reconstructions", job.seed)
    x, names = _validation_clips(data, CLIPS, generator)
    shown = reconstruct(method.autoencoder, x, method.mask_ratio, method.target, generator)
    arrays = [part.squeeze(1).cpu().numpy() for part in shown]
    clips = [Reconstructed(*each) for each in zip(names, *arrays, strict=True)]
    heading = f"Masked spectrograms of {job.dataset} (validation) and what {job.method} makes of them"
    draw_reconstructions(path, heading, clips, _seconds(data))


def draw_mixed_clips(grid: Grid, jobs: list[Job], data: Prepared, path: Path, device: torch.device) -> None:
    """Mixtures of validation clips as tuning makes them, each of another draw of lambda, with their label rows."""
    (job,) = jobs
    settings = grid.track(job.track).settings_of(job.method)
    assert isinstance(settings, UaMixSettings)
    x, names = _validation_clips(data, BATCH, generator_for(device, "figures", "mixtures", job.seed))
    number = torch.arange(len(x), device=device).view(-1, 1, 1, 1).expand_as(x)
    mixtures = []
    for own in range(min(MIXTURES, len(x))):
        drawn, source = (  # the same draw twice: of the clips, and of the number of the clip that a position is from
            mix(what, settings.mixing, settings.alpha, generator_for(device, "figures", "mixture", job.seed, own))
            for what in (x, number)
        )
        mixture, replaced, labels = (
            part.cpu().numpy() for part in (drawn.x[own, 0], source.x[own, 0] != own, drawn.labels[own])
        )
        mixtures.append(Mixed(own, int(drawn.partner[own]), mixture, replaced, float(drawn.kept[own]), labels))
    heading = f"Mixtures ({settings.mixing}) of {len(x)} clips of {job.dataset} (validation) and their virtual labels"
    draw_mixtures(path, heading, x[:, 0].cpu().numpy(), names, mixtures, _seconds(data))


def draw_attacked_images(grid: Grid, jobs: list[Job], data: Prepared, path: Path, device: torch.device) -> None:
    """A few test images that every method of ``jobs`` classifies rightly, attacked on each by the suite's PGD."""
    suite = grid.track(jobs[0].track).robustness
    y = data.y("test")
    assert suite is not None and y is not None
    eps, seed = suite.budget(data.meta.name).main, jobs[0].seed
    chosen = attack_order(len(y), seed)[:CANDIDATES]
    images = modality_of(data).inputs(data.x("test")[chosen], device).contiguous()
    labels = torch.from_numpy(y[chosen]).to(device)
    models = {job.method: attacked_classifier(grid, job, data).to(device) for job in jobs}
    right = torch.stack([_predicted(model, images) == labels for model in models.values()]).all(0)
    # Those that all classify rightly first; the others only where there are not enough of them.
    first = (~right).long().argsort(stable=True)[:IMAGES]
    images, labels = images[first], labels[first]
    attacked = []
    for name, model in models.items():
        generator = generator_for(device, "figures", name, seed)
        adversarial = pgd(
            model,
            images,
            labels,
            eps=eps,
            steps=suite.steps.pgd,
            step_size=suite.steps.step_fraction * eps,
            generator=generator,
        ).images
        attacked.append(Attacked(name, _channels_last(adversarial), _predicted(model, adversarial).cpu().numpy()))
    heading = f"PGD with {suite.steps.pgd} steps on test images of {data.meta.name}, $l_\\infty$ radius {eps:.4g}"
    clean = _channels_last(images)
    draw_adversarial_examples(path, heading, clean, labels.cpu().numpy(), data.meta.classes, attacked, eps)


def draw_views_of_graphs(grid: Grid, jobs: list[Job], data: Prepared, path: Path, device: torch.device) -> None:
    """A few graphs as they are, and one view of each for every kind of augmentation."""
    (job,) = jobs
    track, kind = grid.track(job.track), modality_of(data)
    assert isinstance(track, GraphTrack)
    stored = kind.examples(data, "train")
    generator = generator_for(device, "figures", "views", job.seed)
    chosen = torch.randperm(len(stored), generator=generator, device=device)[:GRAPHS].sort().values.cpu().numpy()
    graphs = kind.inputs(stored[chosen], device)
    assert isinstance(graphs, GraphBatch)
    number = torch.arange(len(graphs.x), device=device, dtype=graphs.x.dtype).unsqueeze(1)
    numbered = replace(graphs, x=torch.cat([graphs.x, number], dim=1))  # who is who, when some have gone
    views: dict[str, list[DrawnGraph]] = {"graph": _drawn(graphs, number)}
    for name in get_args(Kind):
        view = augment_graphs(numbered, track.augment.model_copy(update={"kinds": (name,)}), generator)
        views[name] = _drawn(view, number if name == "attributes" else view.x[:, -1:], graphs)
    draw_graph_views(path, f"Graphs of {data.meta.name} and one view of each by every kind of augmentation", views)


def _drawn(graphs: GraphBatch, number: Tensor, original: GraphBatch | None = None) -> list[DrawnGraph]:
    """Each graph with the numbers that its nodes had before; marked is whose features are not the ``original``'s."""
    nodes, edges, batch = number[:, 0].long().cpu().numpy(), graphs.edge_index.cpu().numpy(), graphs.batch.cpu().numpy()
    changed = np.zeros(len(nodes), bool)
    if original is not None:
        changed = (graphs.x[:, : original.x.shape[1]] != original.x[number[:, 0].long()]).any(dim=1).cpu().numpy()
    labels = graphs.x[:, : (original or graphs).x.shape[1]].argmax(dim=1).cpu().numpy()
    return [
        DrawnGraph(nodes[own], nodes[edges[:, own[edges[0]]]].T, labels[own], changed[own])
        for own in (batch == graph for graph in range(graphs.num_graphs))
    ]


def _validation_clips(data: Prepared, count: int, generator: Generator) -> tuple[Tensor, list[str]]:
    """Up to ``count`` segments (B, 1, T, F) of the validation split on the generator's device, and their classes."""
    stored, labels = data.x("validation"), data.y("validation")
    chosen = torch.randperm(len(stored), generator=generator, device=generator.device)[:count].cpu().numpy()
    x = modality_of(data).inputs(stored[chosen], generator.device)
    names = [f"segment {at}" if labels is None else data.meta.classes[labels[at]] for at in chosen]
    return x, names


def _seconds(data: Prepared) -> float:
    return data.x("validation").shape[1] * SHIFT / SAMPLE_RATE


def _predicted(model: Classifier, images: Tensor) -> Tensor:
    with torch.no_grad():
        return model(images).argmax(1)


def _channels_last(images: Tensor) -> np.ndarray:
    return images.permute(0, 2, 3, 1).cpu().numpy()
