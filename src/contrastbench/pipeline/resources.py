"""How much memory and time a job asks a cluster for, from the sizes of its data, encoder, batches and attacks.

Generous guesses: a scheduler kills a job that takes more. It then runs again with more of both (``attempt``), and
training and attacks continue where they stopped, so that a guess too low costs little.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from contrastbench.datasets.locate import located
from contrastbench.datasets.store import open_prepared
from contrastbench.params.declared import ImageFolder, SoundFolder
from contrastbench.params.evaluation import PretrainParams
from contrastbench.params.graph_track import GraphTrack
from contrastbench.params.graphs import GINParams
from contrastbench.params.images import EncoderParams
from contrastbench.params.robustness import RobustnessParams
from contrastbench.params.vit import ViTParams
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.pipeline.stages import STAGES, TRAINING


@dataclass(frozen=True)
class Needs:
    """Memory of the machine in MB (a GPU's own not counted), and minutes."""

    mem_mb: int
    runtime: int


# Stages that compute with no encoder, and so on no GPU.
WITHOUT_ENCODER = {
    "prepare": Needs(4000, 60),
    "spectrograms": Needs(2500, 60),
    "tables": Needs(1500, 20),
    "report": Needs(1500, 20),
}
START_MINUTES = 5  # Python, torch, the two Snakemakes around a job, a slow file system
BASE_MB = {False: 1500, True: 6000}  # libraries; with a GPU also CUDA's context and pinned buffers
SPEED = {False: 1e10, True: 2e12}  # multiply-adds a second: a slow core; an old GPU in float32
LONGEST = 24 * 60  # minutes of any attempt; what takes longer continues in the next one
JUDGED_MB = 0.02  # an example's share in kNN and probes
STEP = 3  # a forward and a backward pass, in forward passes
VIEWS = 2
NORMS = 3
TARGETS = 9  # of APGD-T, which searches one ball of each norm for an image that withstands it
LONGER = 2  # steps of the checks of convergence, in those of what they check
FURTHER = 4  # APGD's steps beyond the main radius, in those at it
AUTOATTACK = 7000  # steps of the standard version on an image that withstands it: 1,900 of APGD and FAB, 5,000 queries
ASSUMED = (50_000, 32, 32)  # data that are not prepared yet: N, height, width
# Multiply-adds of a forward pass, divided by width^2 and by the pixels behind the stem; a test counts them.
CONVOLUTIONS = {"resnet-slim": 50, "resnet18": 133, "resnet50": 310}
FIT_S = 1e-7  # of a support vector machine, for each pair of examples
NODES = 100  # of a graph
OTHER_ENCODER = 1e9, 64  # multiply-adds and width of an encoder that is neither


def needs(grid: Grid, stage_name: str, job: Job, *, on_gpu: bool, attempt: int = 1) -> Needs:
    """What the ``attempt``-th attempt of a job, counted from 1, asks for."""
    first = _first_needs(grid, stage_name, job, on_gpu)
    return Needs(attempt * first.mem_mb, min(attempt * first.runtime, LONGEST))


def _first_needs(grid: Grid, stage_name: str, job: Job, on_gpu: bool) -> Needs:
    if stage_name in WITHOUT_ENCODER:
        return WITHOUT_ENCODER[stage_name]
    track = grid.track(job.track)
    examples, *size = _shape(grid, job.track, job.trained.dataset)
    encoder = track.sections_of(job.method).get("encoder", getattr(track, "encoder", None))
    forward, width = cost_of(encoder, size)
    svm_minutes = 0.0
    params = grid.pretrain_params(job) if stage_name in TRAINING else None
    if params is not None:
        batch_size, held_mb = max(phase.batch_size for phase in params.phases()), 0.0
        passes = _training_passes(params, examples) * len(grid.members(stage_name, job))
    else:
        batch_size, held_mb = 0, examples * JUDGED_MB
        passes = examples * len(track.seeds)
        if isinstance(track, GraphTrack) and "folds" in STAGES[stage_name].sections:
            fits = track.folds.outer * (track.folds.inner * len(track.folds.strengths) + 1)
            svm_minutes = len(track.seeds) * fits * FIT_S * examples**2 / 60
        suite = track.robustness if "robustness" in STAGES[stage_name].sections else None
        if track.corruptions is not None and "corruptions" in STAGES[stage_name].sections:
            cells = len(track.corruptions.kinds) * len(track.corruptions.severities)
            heads = len(suite.heads) if suite is not None else 1
            passes += cells * heads * (track.corruptions.images or examples) * len(track.seeds)
        elif suite is not None:
            batch_size = suite.batch_size
            passes += _attack_passes(suite)
    # What a backward pass keeps: about a byte per multiply-add and channel, on the GPU where there is one.
    kept_mb = 0.0 if on_gpu else VIEWS * batch_size * forward / width / 1e6
    minutes = START_MINUTES + svm_minutes + passes * forward / SPEED[on_gpu] / 60
    return Needs(math.ceil(BASE_MB[on_gpu] + held_mb + kept_mb), math.ceil(minutes))


def _training_passes(params: PretrainParams, examples: int) -> int:
    """How many forward passes of one example a training takes, those of its attack included."""
    attack_steps = getattr(getattr(params, "settings", None), "steps", 0)
    seen = sum(phase.epochs * min(examples, phase.max_examples or examples) for phase in params.phases())
    return seen * VIEWS * STEP * (1 + attack_steps)


def _attack_passes(suite: RobustnessParams) -> int:
    """The same of attacks on one encoder, none of which succeeds."""
    images, steps = suite.images, suite.steps
    balls = max(len(budget.linf + budget.l2 + budget.l1) for budget in suite.budgets.values())
    beyond = max(sum(eps > budget.main for eps in budget.linf) for budget in suite.budgets.values())
    lengths = balls + beyond * (FURTHER - 1)  # of APGD over all balls, in ``steps.apgd``
    pgd = balls * (1 + LONGER) * steps.pgd
    apgd = (lengths + NORMS * TARGETS * (FURTHER if beyond else 1)) * steps.apgd
    longer = lengths * (1 + TARGETS) * LONGER * steps.apgd
    attacked = images.gradient * (pgd + apgd) + images.convergence * longer
    attacked += (images.autoattack + images.square) * AUTOATTACK
    return STEP * attacked * len(suite.heads)


def cost_of(encoder: object, size: Sequence[int]) -> tuple[float, int]:
    """Multiply-adds of an encoder's forward pass of one image (or spectrogram, none of it masked), and its width."""
    if isinstance(encoder, ViTParams):
        return 12 * encoder.depth * encoder.width**2 * math.prod(size) / encoder.patch**2, encoder.width
    if isinstance(encoder, EncoderParams) and encoder.is_ours:
        per_pixel = CONVOLUTIONS[encoder.architecture] * encoder.width**2
        pixels = encoder.input_size**2 or math.prod(size)
        return per_pixel * pixels / encoder.stem_stride**2, encoder.width
    if isinstance(encoder, GINParams):
        return 2 * encoder.layers * encoder.width**2 * NODES, encoder.width
    return OTHER_ENCODER


def _shape(grid: Grid, track: str, dataset: str) -> tuple[int, ...]:
    """(N, height, width) of the training split; of data that are yet to be prepared, a guess."""
    folder = grid.root / grid.data_folder(track, dataset)
    return _stored_shape(folder) if (folder / "meta.json").is_file() else assumed_shape(grid, dataset)


def assumed_shape(grid: Grid, dataset: str) -> tuple[int, ...]:
    """(N, height, width), a guess; of a folder of the user's own, as many as there are files in it."""
    declared = grid.params.datasets.get(dataset)
    if not isinstance(declared, ImageFolder | SoundFolder):
        return ASSUMED
    size = declared.size if isinstance(declared, ImageFolder) else None
    return _files_in(located(declared, grid.root)) or ASSUMED[0], size or ASSUMED[1], size or ASSUMED[2]


@cache
def _files_in(folder: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(folder))


@cache
def _stored_shape(folder: Path) -> tuple[int, ...]:
    data = open_prepared(folder)
    return data.meta.splits["train"].count, *data.x("train").shape[1:3]
