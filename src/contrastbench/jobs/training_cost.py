"""What training an encoder cost: image passes, counted on one step of its method, and seconds."""

from contextlib import ExitStack

import torch

from contrastbench.attacks.geometry import ImagePasses
from contrastbench.datasets.store import Prepared
from contrastbench.jobs.examples import examples_for
from contrastbench.jobs.weights import load_trained, required_params
from contrastbench.methods import Batch, Method, Step
from contrastbench.params.training import TrainingParams
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.pipeline.records import trained_record
from contrastbench.training.loop import Examples
from contrastbench.training.order import ExampleOrder
from contrastbench.training.seeds import generator_for

FORWARD_ONLY = 1 / 3  # of a pass: a backward pass takes about two forward ones


def training_cost(grid: Grid, job: Job, data: Prepared, device: torch.device) -> dict[str, float]:
    """``image_passes`` and ``training_s`` of the training that left a job's encoder; ``data`` are what it saw.

    The seconds are those of its record: on a CPU of one thread, where jobs have one each, as the pipeline's do.
    """
    record, params = trained_record(grid, job), required_params(grid, job)
    cost = {"image_passes": 0.0, "training_s": float(record["training_s"])}
    if record["steps"]:
        method = load_trained(grid, job).to(device)
        (phase,) = params.phases()
        passes = step_passes(method, examples_for(method, data, params.augment), phase, job.seed, device)
        cost["image_passes"] = round(record["steps"] * passes, 1)
    return cost


def step_passes(method: Method, examples: Examples, params: TrainingParams, seed: int, device: torch.device) -> float:
    """The image passes of one training step, those of its attack included; the method is not to be used afterwards.

    Every image that goes through the encoder with gradients enabled is one pass, without them ``FORWARD_ONLY``: the
    count of the specification of SwARo, section 2. Every step of a method passes as many images as its first.
    """
    order = ExampleOrder(len(examples.x), params, seed)
    index = order.batch(0)
    generator = generator_for(device, "step", seed, 0)
    clean = examples.inputs(examples.x[index], device)
    views = [examples.augment(clean, generator) for _ in range(method.number_of_views)]
    labels = torch.tensor(examples.y[index], device=device) if method.uses_labels and examples.y is not None else None
    batch = Batch(clean, views, torch.from_numpy(index).to(device), labels)
    method.train()
    with ExitStack() as stack:
        counts = [stack.enter_context(ImagePasses(network)) for network in method.networks()]
        method.training_step(batch, Step(0, order.total, order.per_epoch, generator))
    return sum(count.images - (1 - FORWARD_ONLY) * count.forward_only for count in counts)
