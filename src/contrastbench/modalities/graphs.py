"""Graphs: stored as node labels and edges, seen as one batch of unconnected graphs with one-hot labels."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Generator

from contrastbench.augment.graph_batch import GraphBatch
from contrastbench.augment.graphs import augment_graphs
from contrastbench.datasets.graph_store import PackedGraphs, StoredGraphs
from contrastbench.datasets.store import Prepared
from contrastbench.modalities.base import Modality
from contrastbench.models.base import Encoder, Shape
from contrastbench.params.base import Section
from contrastbench.params.graphs import GINParams, GraphAugmentParams


class Graphs(Modality):
    """Graphs with labelled nodes. Inputs are no tensors, but a :class:`GraphBatch` of them."""

    def examples(self, data: Prepared, split: str) -> StoredGraphs:
        """The graphs of one split."""
        return StoredGraphs.of(data, split)

    def inputs(self, rows: PackedGraphs, device: torch.device) -> Any:
        """B packed graphs -> a GraphBatch whose features are one-hot node labels."""
        labels, edges, graph = (torch.from_numpy(array).to(device) for array in (rows.labels, rows.edges, rows.graph))
        x = torch.zeros(len(labels), rows.kinds, device=device).scatter_(1, labels.unsqueeze(1), 1.0)
        return GraphBatch(x, edges, graph, rows.count)

    def input_shape(self, data: Prepared) -> Shape:
        """The number of node labels."""
        return (StoredGraphs.of(data, "train").kinds,)

    def build_encoder(self, params: Section, input_shape: Shape) -> Encoder:
        """A graph isomorphism network."""
        from contrastbench.models.gin import GIN  # torch-geometric: rows without an encoder do without

        assert isinstance(params, GINParams)
        return GIN(params, input_shape)

    def augmentation(self, params: Section) -> Callable[[Any, Generator], Any]:
        """One random change of every graph."""
        assert isinstance(params, GraphAugmentParams)
        return lambda graphs, generator: augment_graphs(graphs, params, generator)

    def reference_features(self, data: Prepared, split: str) -> np.ndarray:
        """How many nodes of each label, and of each degree, a graph has: (N, K + D + 1), D the largest degree."""
        graphs = StoredGraphs.of(data, split)
        packed = graphs[np.arange(len(graphs))]
        degree = np.bincount(packed.edges[0], minlength=len(packed.labels))
        counted = [_counts(packed.graph, value, packed.count) for value in (packed.labels, degree)]
        return np.concatenate(counted, axis=1).astype(np.float32)


def _counts(graph: np.ndarray, value: np.ndarray, count: int) -> np.ndarray:
    """How often each value, 0 to its largest, stands in each graph: (count, values)."""
    values = int(value.max()) + 1
    return np.bincount(graph * values + value, minlength=count * values).reshape(count, values)
