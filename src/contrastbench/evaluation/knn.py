"""Weighted k-nearest-neighbour classification by cosine similarity (Wu et al., 2018)."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from contrastbench.evaluation.blocks import Blocks, blocks
from contrastbench.evaluation.labelled import Labelled

QUERIES = 2048  # classified at a time: their similarities to a block of training rows take 128 MiB


class NearestNeighbours:
    """The fitted classifier; its methods are scikit-learn's.

    Training rows stream past the queries, whose ``neighbours`` most similar ones so far are kept. Of rows that are
    equally similar to a query any may be taken, always the same ones on a CPU. Rows of zeros have similarity 0.
    """

    def __init__(self, train: Labelled, neighbours: int, temperature: float, device: str) -> None:
        self.classes_, number = np.unique(train.labels, return_inverse=True)
        self._number = torch.from_numpy(number).to(device)
        self._train = Blocks(train.features, device, normalize)
        self._neighbours, self._temperature, self._device = min(neighbours, len(train.labels)), temperature, device

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Classes (M,) of the rows of ``features`` (M, D); of equal votes, the first class wins."""
        return self.classes_[self.predict_proba(features).argmax(axis=1)]

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        """Each class's share of the votes (M, classes)."""
        queries = (part for block in blocks(features, self._device) for part in block.split(QUERIES))
        return torch.cat([self._votes(normalize(part)).cpu() for part in queries]).numpy()

    def _votes(self, queries: Tensor) -> Tensor:
        similarity = queries.new_empty(len(queries), 0)
        neighbour = torch.empty_like(similarity, dtype=torch.int64)
        start = 0
        for block in self._train:
            near, position = (queries @ block.T).topk(min(self._neighbours, len(block)))
            similarity, neighbour = torch.cat([similarity, near], 1), torch.cat([neighbour, position + start], 1)
            similarity, best = similarity.topk(min(self._neighbours, similarity.shape[1]))
            neighbour, start = neighbour.gather(1, best), start + len(block)
        weight = (similarity / self._temperature).softmax(dim=1)
        return weight.new_zeros(len(queries), len(self.classes_)).scatter_add_(1, self._number[neighbour], weight)


def fit_knn(train: Labelled, *, neighbours: int, temperature: float, device: str = "cpu") -> NearestNeighbours:
    """Fit the classifier to ``train``.

    Each of the ``neighbours`` most similar training rows votes with weight exp(similarity / temperature), divided by
    the sum of these weights in a form in which at no temperature all vanish or overflow.
    """
    return NearestNeighbours(train, neighbours, temperature, device)
