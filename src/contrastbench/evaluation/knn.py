"""Weighted k-nearest-neighbour classification by cosine similarity (Wu et al., 2018)."""

import torch
from torch import Tensor
from torch.nn import functional


@torch.no_grad()
def knn_predict(
    train: Tensor, labels: Tensor, queries: Tensor, *, neighbours: int, temperature: float, batch_size: int = 1024
) -> Tensor:
    """Predicted classes (Q,) of ``queries`` (Q, D) from ``train`` (N, D) with ``labels`` (N,).

    Each of the ``neighbours`` most similar training examples votes with weight exp(similarity / temperature).
    """
    neighbours = min(neighbours, len(train))
    classes = int(labels.max()) + 1
    train = functional.normalize(train.float(), dim=1)
    predictions = []
    for part in functional.normalize(queries.float(), dim=1).split(batch_size):
        similarity, index = (part @ train.T).topk(neighbours, dim=1)
        weights = torch.exp((similarity - 1) / temperature)  # similarity <= 1: never overflows
        votes = torch.zeros(len(part), classes, device=part.device)
        votes.scatter_add_(1, labels[index], weights)
        predictions.append(votes.argmax(dim=1))
    return torch.cat(predictions)
