"""Small methods on graphs, shared by the tests of GraphCL and InfoGraph."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from conftest import REPOSITORY
from graph_cases import random_graphs

from contrastbench.augment.graph_batch import GraphBatch
from contrastbench.methods import Method, Step, method_class
from contrastbench.params.root import load
from contrastbench.training.loop import Examples, train
from contrastbench.training.seeds import generator_for

LABELS = 4  # kinds of nodes


def graphs_of(count: int, seed: int = 0) -> GraphBatch:
    graphs = random_graphs(count, LABELS, seed)
    return replace(graphs, x=graphs.x.float())


def graph_method(name: str, **settings: object) -> Method:
    """A freshly initialised method of the default size with changed settings, in train mode."""
    params = load(root=REPOSITORY).graphs.pretrain(name, "mutag")
    changed = type(params.settings).model_validate(params.settings.model_dump() | settings)
    torch.manual_seed(0)
    return method_class(name).from_params(params.model_copy(update={"settings": changed}), (LABELS,), 2).train()


def one_step() -> Step:
    return Step(0, 10, 5, generator_for(torch.device("cpu"), "test", 0))


def train_a_step(name: str, folder: Path, augment: Callable) -> None:
    """One step of the training loop on eight graphs."""
    params = load(root=REPOSITORY).graphs.pretrain(name, "mutag").training
    examples = Examples(torch.arange(8), None, lambda rows, _: graphs_of(len(rows)), augment)
    few = params.model_copy(update={"epochs": 1, "batch_size": 8})
    train(graph_method(name), examples, few, seed=0, checkpoint=folder / "c", identity="i", show_progress=False)
