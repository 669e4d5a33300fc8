"""Image encoders that are not ours alone: a library's trunk, weights of a file, images that are scaled first."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from contrastbench.errors import UserError
from contrastbench.models.base import Encoder, Shape
from contrastbench.models.checkpoints import load_encoder, read_weights
from contrastbench.models.encoders import Normalize, build_encoder
from contrastbench.models.libraries import give_cifar_stem, library_trunk, stated
from contrastbench.params.images import IMPORTED, EncoderParams


class LibraryEncoder(Encoder):
    """Scaling, normalisation and a trunk without classifier; ``features`` is the dimension D of its output.

    All of it is differentiable: attacks see pixels in [0, 1] of the data's own size.
    """

    def __init__(
        self, normalize: nn.Module, trunk: nn.Module, features: int, size: int | None, *, repeated: bool
    ) -> None:
        """``size`` to scale to, None leaves images as they are; ``repeated``: grey ones on three channels."""
        super().__init__()
        self.normalize, self.trunk, self.features = normalize, trunk, features
        self.size, self.repeated = size, repeated

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (B, D)."""
        if self.size is not None:
            images = functional.interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)
        if self.repeated:
            images = images.repeat(1, 3, 1, 1)
        return self.trunk(self.normalize(images))


def build_library_encoder(params: EncoderParams, input_shape: Shape) -> LibraryEncoder:
    """An encoder for images of ``input_shape`` (C, H, W), freshly initialised or with the weights that are named.

    A file or hub that ``params.pretrained`` names is read now; what was imported before is not (pipeline/imported.py).
    UserError of one line for an unknown architecture, sizes that it does not take, and weights of another network.
    """
    channels, height, width = input_shape
    repeated = params.grey_as_colour and channels == 1
    channels = 3 if repeated else channels
    size = params.input_size or None
    if params.is_ours:
        ours = build_encoder(params, channels)
        trunk, normalize = ours.trunk, ours.normalize
    else:
        about = stated(params.architecture)
        size = size or (about.size if about.is_fixed else None)
        hub = params.pretrained if params.is_from_a_hub else None
        trunk = library_trunk(params.architecture, channels, size or max(height, width), hub)
        normalize = Normalize(*(_for_channels(numbers, channels) for numbers in (about.mean, about.std)))
    if params.stem == "cifar":
        give_cifar_stem(trunk, params.architecture)
    if params.mean:
        if len(params.mean) not in (1, channels):
            raise UserError(f"encoder.mean, encoder.std: each takes {channels} numbers or one")
        normalize = Normalize(params.mean, params.std)
    size = None if size == height == width else size
    features = _features(trunk, params.architecture, (channels, size or height, size or width))
    encoder = LibraryEncoder(normalize, trunk, features, size, repeated=repeated)
    if params.pretrained and not params.is_from_a_hub and not params.pretrained.startswith(IMPORTED):
        _import(encoder, Path(params.pretrained), params.architecture)
    return encoder


def _for_channels(numbers: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """One number for each channel; of a library's three their mean, where images are grey."""
    return numbers if len(numbers) == channels else (sum(numbers) / len(numbers),) * channels


def _import(encoder: LibraryEncoder, path: Path, architecture: str) -> None:
    """Load the trunk's weights; where the file is of an encoder of this suite, its normalisation too."""
    state = read_weights(path)
    prefix = load_encoder(encoder.trunk, state, f"{path}: not the weights of {architecture} without its classifier")
    own = {name: state.get(f"{prefix.removesuffix('trunk.')}normalize.{name}") for name in ("mean", "std")}
    if all(tensor is not None and tensor.shape == (encoder.normalize.mean.shape) for tensor in own.values()):
        encoder.normalize.load_state_dict(own)


@torch.no_grad()
def _features(trunk: nn.Module, architecture: str, shape: Shape) -> int:
    """The dimension of the features, which one image of ``shape`` tells; UserError where the trunk takes none such."""
    told = " x ".join(map(str, shape))
    try:
        output = trunk.eval()(torch.zeros(1, *shape))
    except Exception as error:  # the network's own code may raise anything
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"{architecture}: cannot take images of {told} ({reason}); encoder.input_size scales to another"
        ) from None
    finally:
        trunk.train()
    if not isinstance(output, Tensor) or output.ndim != 2 or output.shape[1] == 0:
        raise UserError(f"{architecture}: gives no features (B, D) for images of {told}")
    return output.shape[1]
