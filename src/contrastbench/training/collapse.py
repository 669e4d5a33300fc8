"""The collapse monitor: how many directions the embeddings really use."""

import torch
from torch import Tensor

# Below this effective rank all embeddings lie close to one line or plane: nothing can be told apart.
COLLAPSED_BELOW = 2.0


def effective_rank(embeddings: Tensor) -> float:
    """Exponential of the entropy of the normalised singular values (Roy & Vetterli, 2007).

    ``embeddings`` is (N, D); the mean is removed first. 1 means that all lie on a line, min(N - 1, D) that
    every direction is used alike. Identical embeddings give 1.
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
    """One line that names the remedy when ``rank`` says collapse, else None."""
    if rank >= COLLAPSED_BELOW:
        return None
    return (
        f"the embeddings have collapsed (effective rank {rank:.2f}): "
        "lower the learning rate, lengthen the warm-up or enlarge the batch"
    )
