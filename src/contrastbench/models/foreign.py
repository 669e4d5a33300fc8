"""Classifiers that were trained elsewhere: a network by the name of its architecture, and a file of its weights."""

import difflib
import pickle
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors.torch import load
from torch import Tensor, nn
from torchvision.models import ResNet

from contrastbench.errors import UserError
from contrastbench.files import reading
from contrastbench.models.encoders import Normalize, build_encoder
from contrastbench.params.base import validate
from contrastbench.params.images import EncoderParams

OURS: tuple[str, ...] = get_args(EncoderParams.model_fields["architecture"].annotation)
WRAPPERS = ("state_dict", "model_state_dict", "model", "net")  # where checkpoints keep the weights
PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and of torch.compile
OUR_NORMALISATION = "encoder.normalize.mean"


@dataclass(frozen=True)
class Network:
    """What a file of weights is weights of.

    architecture        one of ``OURS`` (models/encoders.py), ``torchvision:NAME`` or ``timm:NAME``
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
    normalize = _normalisation(network, channels)
    state, name = read_weights(path), network.architecture
    if name in OURS:
        model = _ours(network, channels, classes, plain=not any(each.startswith("encoder.") for each in state))
    elif network.width is not None or network.stem_stride is not None:
        raise UserError(f"--width, --stem-stride: {name} has one form; they are for {', '.join(OURS)}")
    else:
        model = _of_a_library(name, channels, classes)
    _load(model, state, f"{path}: not the weights of {name} for {classes} classes and {channels} channels")
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


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name: a ``.safetensors`` file, or what ``torch.save`` wrote of a ``state_dict``, also a wrapped one.

    No code in the file is run: pickled objects other than tensors are a UserError, as are values that are not finite.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file of weights")
    content: Any
    stored = path.read_bytes()  # torch.load tells of a file that is cut off as of one that the system refuses
    with reading(path, "file of weights", "save model.state_dict() again"):
        try:
            if path.suffix == ".safetensors":
                content = load(stored)
            else:
                content = torch.load(BytesIO(stored), map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            raise UserError(
                f"{path}: not a file of tensors alone; other objects could run code and are not read: "
                "save model.state_dict(), not the model"
            ) from None
    while isinstance(content, dict) and (inner := [name for name in WRAPPERS if isinstance(content.get(name), dict)]):
        content = content[inner[0]]
    if not isinstance(content, dict) or not content or not all(map(_is_weight, content.items())):
        raise UserError(f"{path}: holds no tensors by name (a state_dict, or one under {', '.join(WRAPPERS)})")
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in content):
            content = {name.removeprefix(prefix): tensor for name, tensor in content.items()}
    for name, tensor in content.items():
        if not torch.isfinite(tensor).all():
            raise UserError(f"{path}: {name} holds values that are not finite; the training of this model has diverged")
    return content


def _is_weight(entry: tuple[object, object]) -> bool:
    return isinstance(entry[0], str) and isinstance(entry[1], Tensor)


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


def _of_a_library(architecture: str, channels: int, classes: int) -> nn.Module:
    library, _, name = architecture.partition(":")
    if library == "timm":
        import timm

        _require_known(name, timm.list_models(), library)
        return timm.create_model(name, num_classes=classes, in_chans=channels)
    if library == "torchvision":
        from torchvision import models

        _require_known(name, models.list_models(module=models), "torchvision.models")
        if channels != 3:
            raise UserError(f"{architecture}: takes colour images only; for grey ones there is timm:NAME")
        return models.get_model(name, num_classes=classes)
    raise UserError(f"unknown architecture {architecture!r}; known: {', '.join(OURS)}, torchvision:NAME, timm:NAME")


def _require_known(name: str, known: list[str], library: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known)
        there = f"did you mean {' or '.join(near)}?" if near else f"{library}.list_models() names those that there are"
        raise UserError(f"{library} has no model {name!r}; {there}")


def _load(network: nn.Module, state: dict[str, Tensor], refusal: str) -> None:
    expected = network.state_dict()
    # Written since PyTorch 0.4.1, read in training only.
    missing = [name for name in expected if name not in state and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in expected]
    other = [
        f"{name} has shape {_shape(state[name])}, not {_shape(tensor)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    found = {"missing": missing, "unexpected": unexpected, "of other shapes": other}
    told = [f"{what}: {_first(names)}" for what, names in found.items() if names]
    if told:
        raise UserError(f"{refusal}; {'; '.join(told)}")
    network.load_state_dict(state, strict=False)


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "()"


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
