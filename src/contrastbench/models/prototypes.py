"""Prototypes and queue of SwAV (Caron et al., 2020; specification of SwARo, 1.2)."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Prototypes(nn.Module):
    """K unit vectors in the embedding space; scores are cosines.

    ``normalize`` puts the rows back on the unit sphere after an optimiser step, in place and without gradient: every
    forward pass sees unit vectors, and no gradient flows through the normalisation.
    """

    def __init__(self, dimension: int, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(functional.normalize(torch.randn(count, dimension), dim=1))

    def forward(self, embeddings: Tensor) -> Tensor:
        """L2-normalised embeddings (B, d) -> scores (B, K) in float32."""
        with torch.autocast(embeddings.device.type, enabled=False):
            return embeddings.float() @ self.weight.float().T

    @torch.no_grad()
    def normalize(self) -> None:
        """Put every prototype back on the unit sphere."""
        self.weight.copy_(functional.normalize(self.weight, dim=1))


class EmbeddingQueue(nn.Module):
    """The last ``length`` embeddings of each assigning view, so that small batches get balanced codes.

    Stored in buffers, so that a resumed run continues with the same queue. Like SwAV's, it is used once it is full.
    """

    embeddings: Tensor
    pushed: Tensor

    def __init__(self, views: int, length: int, dimension: int) -> None:
        super().__init__()
        self.register_buffer("embeddings", torch.zeros(views, length, dimension))
        self.register_buffer("pushed", torch.zeros(views, dtype=torch.int64))
        # ``pushed`` as the host knows it; None where it has to ask the device, once after loading.
        self._counted: list[int] | None = [0] * views
        self.register_load_state_dict_post_hook(lambda queue, _: setattr(queue, "_counted", None))

    def full(self, view: int) -> bool:
        """Whether the queue of this view holds ``length`` embeddings."""
        return self._count()[view] >= self.embeddings.shape[1]

    def _count(self) -> list[int]:
        if self._counted is None:
            self._counted = self.pushed.tolist()
        return self._counted

    @torch.no_grad()
    def push(self, view: int, embeddings: Tensor) -> None:
        """Insert ``embeddings`` (B, d) at the front; the oldest drop out."""
        length = self.embeddings.shape[1]
        both = torch.cat([embeddings.detach().to(self.embeddings.dtype), self.embeddings[view]])
        self.embeddings[view] = both[:length]
        self._count()[view] += len(embeddings)
        self.pushed[view] += len(embeddings)
