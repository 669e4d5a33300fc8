"""Image encoders: pixels in [0, 1] in, features out; normalisation is their first layer."""

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from contrastbench.models.base import Encoder
from contrastbench.params.images import EncoderParams

# torchvision's ResNet stages are 64, 128, 256, 512 channels wide.
PUBLISHED_WIDTH = 64


class Normalize(nn.Module):
    """Pixels in [0, 1] to zero mean and unit variance per channel, with fixed statistics."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (B, C, H, W)."""
        return (images - self.mean) / self.std


class ImageEncoder(Encoder):
    """Normalisation and a ResNet; ``features`` is the dimension D of its output."""

    def __init__(self, normalize: Normalize, trunk: nn.Module, features: int) -> None:
        super().__init__()
        self.normalize = normalize
        self.trunk = trunk
        self.features = features

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (B, D)."""
        return self.trunk(self.normalize(images))


# CIFAR-10's statistics from HCL's code (specification of UnReMix, 2.1), used for all colour images;
# grey images are only centred. Fixed constants, so that they never depend on a test image.
COLOUR = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
GREY = ((0.5,), (0.5,))


def build_encoder(params: EncoderParams, channels: int) -> ImageEncoder:
    """A freshly initialised encoder for images of 1 or 3 ``channels``."""
    normalize = Normalize(*(COLOUR if channels == 3 else GREY))
    if params.architecture == "resnet-slim":
        return ImageEncoder(normalize, _slim(params, channels), 4 * params.width)
    return ImageEncoder(normalize, *_published(params, channels))


def _stem(channels: int, width: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, width, kernel_size=3, stride=stride, padding=1, bias=False)


def _published(params: EncoderParams, channels: int) -> tuple[nn.Module, int]:
    """torchvision's ResNet-18/50 with the CIFAR stem (3 x 3, no max-pool) and without its classifier."""
    if params.architecture == "resnet18":
        trunk = _ScaledResNet(BasicBlock, [2, 2, 2, 2], params.width)
        features = 8 * params.width
    else:
        trunk = _ScaledResNet(Bottleneck, [3, 4, 6, 3], params.width)
        features = 8 * params.width * Bottleneck.expansion
    trunk.conv1 = _stem(channels, params.width, params.stem_stride)
    nn.init.kaiming_normal_(trunk.conv1.weight, mode="fan_out", nonlinearity="relu")
    trunk.maxpool = nn.Identity()  # type: ignore[assignment]
    trunk.fc = nn.Identity()  # type: ignore[assignment]
    return trunk, features


class _ScaledResNet(ResNet):
    """torchvision's ResNet with every stage ``width / 64`` times as wide; at width 64 it is torchvision's own."""

    def __init__(self, block: type[BasicBlock] | type[Bottleneck], layers: list[int], width: int) -> None:
        self._width = width
        super().__init__(block, layers)
        self.bn1 = nn.BatchNorm2d(width)

    def _make_layer(self, block, planes, blocks, stride=1, dilate=False):  # type: ignore[no-untyped-def]
        if planes == PUBLISHED_WIDTH:  # the first stage follows the stem
            self.inplanes = self._width
        return super()._make_layer(block, planes * self._width // PUBLISHED_WIDTH, blocks, stride, dilate)


def _slim(params: EncoderParams, channels: int) -> nn.Module:
    """Three stages of one basic block each: a declared budget cut, small enough to train on two cores."""
    width = params.width

    def block(inside: int, outside: int, stride: int) -> BasicBlock:
        shortcut = None
        if stride != 1 or inside != outside:
            shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))
        return BasicBlock(inside, outside, stride, shortcut)

    trunk = nn.Sequential(
        _stem(channels, width, params.stem_stride),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        block(width, width, 1),
        block(width, 2 * width, 2),
        block(2 * width, 4 * width, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return trunk
