"""The collapse monitor: how many directions the embeddings actually use."""

import torch
from torch import Tensor

# Below this effective rank, all embeddings are close to one line or plane and cannot be told apart.
COLLAPSED_BELOW = 2.0


def effective_rank(embeddings: Tensor) -> float:
    """Exponential of the entropy of the normalised singular values (Roy & Vetterli, 2007).

    ``embeddings`` is (N, D); the mean is subtracted first. 1 means that all are on one line, min(N - 1, D) that
    all directions are used equally. Identical embeddings give 1.
    """
    centred = embeddings.detach().float()
    centred = centred - centred.mean(dim=0)
    singular = torch.linalg.svdvals(centred)
    total = singular.sum()
    if total <= 1e-6 * embeddings.shape[0]:
        return 1.0
    share = singular / total
    return float(torch.exp(-(share * torch.log(share.clamp_min(1e-12))).sum()))


def collapse_warning(rank: float) -> str | None:
    """One line that names the remedy when ``rank`` indicates a collapse, else None."""
    if rank >= COLLAPSED_BELOW:
        return None
    return (
        f"the embeddings have collapsed (effective rank {rank:.2f}): "
        "lower the learning rate, lengthen the warm-up or enlarge the batch"
    )
