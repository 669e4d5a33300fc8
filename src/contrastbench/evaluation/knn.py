"""Weighted k-nearest-neighbour classification by cosine similarity (Wu et al., 2018)."""

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from contrastbench.evaluation.labelled import Labelled


def fit_knn(train: Labelled, *, neighbours: int, temperature: float) -> KNeighborsClassifier:
    """Fit the classifier to ``train``.

    Each of the ``neighbours`` most similar training rows votes with weight exp(similarity / temperature), divided by
    the nearest one's weight, so that at no temperature all weights vanish or overflow.
    """
    model = KNeighborsClassifier(
        n_neighbors=min(neighbours, len(train.labels)),
        metric="cosine",
        algorithm="brute",
        weights=lambda distance: np.exp((distance.min(axis=1, keepdims=True) - distance) / temperature),
    )
    return model.fit(train.features, train.labels)
