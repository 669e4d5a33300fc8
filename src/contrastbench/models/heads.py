"""Projection heads between an encoder and a contrastive objective."""

from typing import NamedTuple

from torch import Tensor, nn

from contrastbench.params.images import ProjectorParams


class Projection(NamedTuple):
    """What a projector computes: ``hidden`` (B, H), the input of its last linear layer, and ``output`` (B, D).

    UnReMix needs both: the gradient of a sample's loss with respect to the last layer's weights is an outer product
    that involves both (specification of UnReMix, 1.4). ``output`` is not normalised.
    """

    hidden: Tensor
    output: Tensor


class ProjectionHead(nn.Module):
    """Linear (no bias), BatchNorm, ReLU, Linear (bias): HCL's head (specification of UnReMix, 2.1)."""

    def __init__(self, features: int, params: ProjectorParams) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(features, params.hidden, bias=False), nn.BatchNorm1d(params.hidden), nn.ReLU(inplace=True)
        )
        self.last = nn.Linear(params.hidden, params.output)

    def forward(self, features: Tensor) -> Projection:
        """(B, features) -> Projection."""
        hidden = self.body(features)
        return Projection(hidden, self.last(hidden))
