"""Classifiers that were trained elsewhere: a network by the name of its architecture, and a file of its weights."""

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from torch import nn
from torchvision.models import ResNet

from contrastbench.errors import UserError
from contrastbench.models.checkpoints import load_exactly, read_weights
from contrastbench.models.encoders import Normalize, build_encoder
from contrastbench.models.libraries import library_classifier
from contrastbench.params.base import validate
from contrastbench.params.images import OURS, EncoderParams, require_architecture

OUR_NORMALISATION = "encoder.normalize.mean"


@dataclass(frozen=True)
class Network:
    """What a file of weights is weights of.

    architecture        one of ``OURS`` (models/encoders.py), ``torchvision/NAME`` or ``timm/NAME``
    width, stem_stride  of ``OURS`` alone; None is 64 and 1
    mean, std           of the pixels, one number for each channel or one for all; None leaves pixels as they are
    """

    architecture: str
    width: int | None = None
    stem_stride: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def foreign_classifier(path: Path, network: Network, channels: int, classes: int) -> nn.Module:
    """The classifier in ``path``: pixels (B, C, H, W) in [0, 1] to outputs (B, classes), in eval mode on the CPU.

    UserError for weights of another architecture, naming what does not fit.
    """
    try:
        require_architecture(network.architecture)
    except ValueError as error:
        raise UserError(f"--architecture {network.architecture}: {error}") from None
    normalize = _normalisation(network, channels)
    state, name = read_weights(path), network.architecture
    if name in OURS:
        model = _ours(network, channels, classes, plain=not any(each.startswith("encoder.") for each in state))
    elif network.width is not None or network.stem_stride is not None:
        raise UserError(f"--width, --stem-stride: {name} has one form; they are for {', '.join(OURS)}")
    else:
        model = library_classifier(name, channels, classes)
    load_exactly(model, state, f"{path}: not the weights of {name} for {classes} classes and {channels} channels")
    if OUR_NORMALISATION in state and network.mean is not None:
        raise UserError(f"{path}: brings its own normalisation; leave out --mean and --std")
    return nn.Sequential(normalize, model).eval()


def _normalisation(network: Network, channels: int) -> nn.Module:
    if network.mean is None and network.std is None:
        return nn.Identity()
    mean, std = network.mean or (), network.std or ()
    inside = all(0 <= each <= 1 for each in mean) and all(0 < each <= 1 for each in std)
    if not inside or len(mean) not in (1, channels) or len(std) not in (1, channels):
        raise UserError(f"--mean, --std: each takes {channels} numbers or one, of pixels in [0, 1]; --std is above 0")
    return Normalize(mean, std)


def _ours(network: Network, channels: int, classes: int, *, plain: bool) -> nn.Module:
    """One of our networks, its tensors named as in our files; ``plain``: as torchvision names those of a ResNet."""
    content = {
        "architecture": network.architecture,
        "width": 64 if network.width is None else network.width,
        "stem_stride": 1 if network.stem_stride is None else network.stem_stride,
    }
    encoder = build_encoder(validate(EncoderParams, content, lambda _: "--architecture"), channels)
    head = nn.Linear(encoder.features, classes)
    if plain and isinstance(encoder.trunk, ResNet):
        encoder.trunk.fc = head
        return encoder.trunk
    return nn.Sequential(OrderedDict(encoder=encoder, head=head))
