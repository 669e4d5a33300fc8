"""What follows an encoder of graphs while it is trained: GraphCL's projector and InfoGraph's networks."""

from torch import Tensor, nn

from contrastbench.models.heads import ProjectionHead


class GraphProjector(ProjectionHead):
    """Linear, ReLU, Linear, all of the encoder's width, with biases and without BatchNorm (GraphCL's code)."""

    def __init__(self, features: int) -> None:
        nn.Module.__init__(self)
        self.body = nn.Sequential(nn.Linear(features, features), nn.ReLU())
        self.last = nn.Linear(features, features)
        xavier(self)


class ShortcutNetwork(nn.Module):
    """Three linear layers, a ReLU after each, plus a linear shortcut (InfoGraph's code)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        layers = [(nn.Linear(features, features), nn.ReLU()) for _ in range(3)]
        self.block = nn.Sequential(*(module for layer in layers for module in layer))
        self.shortcut = nn.Linear(features, features)
        xavier(self)

    def forward(self, features: Tensor) -> Tensor:
        """(N, features) -> (N, features)."""
        return self.block(features) + self.shortcut(features)


def xavier(network: nn.Module) -> None:
    """Linear layers as both codes initialise them: Xavier-uniform weights, biases 0."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
