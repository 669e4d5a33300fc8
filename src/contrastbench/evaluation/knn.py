"""Weighted k-nearest-neighbour classification by cosine similarity (Wu et al., 2018)."""

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from contrastbench.evaluation.labelled import Labelled


def fit_knn(train: Labelled, *, neighbours: int, temperature: float) -> KNeighborsClassifier:
    """The classifier by the rows of ``train``.

    Each of the ``neighbours`` most similar training rows votes with weight exp(similarity / temperature);
    relative to the nearest one's, so that no temperature makes all weights vanish or overflow.
    """
    model = KNeighborsClassifier(
        n_neighbors=min(neighbours, len(train.labels)),
        metric="cosine",
        algorithm="brute",
        weights=lambda distance: np.exp((distance.min(axis=1, keepdims=True) - distance) / temperature),
    )
    return model.fit(train.features, train.labels)
