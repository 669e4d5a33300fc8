"""The contrastive head of MAE-CT: projector, predictor, queue of neighbours, EMA copy of the projector.

Sizes and rules: specification of uaMix-MAE, 1.5. The queue stores L2-normalised projections together with the
sample that each came from, so that no sample becomes its own neighbour.
"""

import copy

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from contrastbench.models.linear import through_onednn
from contrastbench.params.tuning import HeadParams

NO_SAMPLE = -1  # for the queue's random initial entries


class NNCLRHead(nn.Module):
    """``projector`` and ``predict`` carry gradients; ``target`` and ``neighbours`` never do."""

    queue: Tensor
    queue_ids: Tensor
    queue_next: Tensor

    def __init__(self, features: int, params: HeadParams) -> None:
        super().__init__()
        self.projector = _projector(features, params)
        self.predictor = nn.Sequential(
            nn.Linear(params.output, params.predictor_hidden, bias=False),
            nn.BatchNorm1d(params.predictor_hidden),
            nn.ReLU(inplace=True),
            nn.Linear(params.predictor_hidden, params.output, bias=False),
        )
        through_onednn(self)
        self.target_projector = copy.deepcopy(self.projector).requires_grad_(False)
        self.register_buffer("queue", functional.normalize(torch.randn(params.queue, params.output), dim=1))
        self.register_buffer("queue_ids", torch.full((params.queue,), NO_SAMPLE))
        self.register_buffer("queue_next", torch.zeros(1, dtype=torch.int64))

    def start_target(self) -> None:
        """Set the EMA projector equal to the projector, BatchNorm statistics included."""
        self.target_projector.load_state_dict(self.projector.state_dict())

    @torch.no_grad()
    def move_target(self, momentum: float) -> None:
        """EMA of the projector's weights: target = momentum * target + (1 - momentum) * projector."""
        for old, new in zip(self.target_projector.parameters(), self.projector.parameters(), strict=True):
            old.lerp_(new, 1 - momentum)

    def predict(self, projection: Tensor) -> Tensor:
        """Projections (B, D) -> predictions (B, D), not normalised."""
        return self.predictor(projection)

    @torch.no_grad()
    def target(self, features: Tensor) -> Tensor:
        """Features (B, F) -> L2-normalised projections (B, D) of the EMA projector."""
        return functional.normalize(self.target_projector(features).float(), dim=1)

    @torch.no_grad()
    def neighbours(self, projections: Tensor, ids: Tensor, top_k: int, generator: Generator) -> Tensor:
        """For each L2-normalised projection (B, D), one of its ``top_k`` most similar queue entries, (B, D).

        Chosen uniformly. Entries of the sample itself (``ids`` (B,)) count as similarity -1.
        """
        similarity = projections @ self.queue.T
        similarity = similarity.masked_fill(ids.unsqueeze(1) == self.queue_ids, -1.0)
        best = similarity.topk(top_k, dim=1).indices
        pick = torch.randint(top_k, (len(best), 1), generator=generator, device=best.device)
        return self.queue[best.gather(1, pick).squeeze(1)]

    @torch.no_grad()
    def enqueue(self, projections: Tensor, ids: Tensor) -> None:
        """Replace the oldest entries by L2-normalised projections (B, D)."""
        size = len(self.queue)
        places = (self.queue_next + torch.arange(len(ids), device=ids.device)) % size
        self.queue[places] = projections.to(self.queue.dtype)
        self.queue_ids[places] = ids
        self.queue_next.copy_((self.queue_next + len(ids)) % size)


def _projector(features: int, params: HeadParams) -> nn.Sequential:
    hidden = params.projector_hidden
    return nn.Sequential(
        nn.Linear(features, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, params.output, bias=False),
        nn.BatchNorm1d(params.output),
    )
