"""Encoders as others load them: weights under the library's own names, timm's ``config.json``, lines of Python."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from contrastbench.datasets.store import FrontEnd
from contrastbench.errors import UserError
from contrastbench.models.base import Shape
from contrastbench.models.checkpoints import State
from contrastbench.models.encoders import PUBLISHED_WIDTH, ImageEncoder
from contrastbench.models.libraries import CLASSES, classifier_place, library_classifier, size_options, stated
from contrastbench.models.library_encoder import LibraryEncoder
from contrastbench.models.patches import EPSILON
from contrastbench.models.vit import AudioViT
from contrastbench.params.images import EncoderParams

WEIGHTS, CONFIG = "model.safetensors", "config.json"
FBANK = "from torchaudio.compliance.kaldi import fbank"
TIMM = ["import timm", 'model = timm.create_model("local-dir:.", pretrained=True)']
SPECTROGRAMS = "def features(spectrograms):  # (B, 1, frames, mels), as `spectrogram` makes them"
LOADED = f'model.load_state_dict(load_file("{WEIGHTS}"))'


@dataclass(frozen=True)
class Exported:
    """What goes into a folder beside the model card.

    state    tensors by name, on the CPU
    config   the content of ``config.json``: timm's where timm can build the network, else the same keys for a reader
    usage    lines of Python that load the network, to be run in the folder, and define ``features``
    library  what they load it with
    """

    state: State
    config: dict[str, Any]
    usage: str
    library: str


def exported(encoder: nn.Module, params: Any, input_shape: Shape, front_end: FrontEnd | None = None) -> Exported:
    """An encoder of images or sound, which ``params``, its section, describes; of another kind, a UserError.

    ``input_shape`` is that of the data that it was trained on; of sound ``front_end`` says how it was made.
    """
    if isinstance(encoder, AudioViT):
        assert front_end is not None
        return _sound(encoder, input_shape, front_end)
    if isinstance(encoder, ImageEncoder | LibraryEncoder):
        return _images(encoder, params, input_shape, front_end)
    raise UserError("only encoders of images and of sound are exported")


def _spectrogram(front_end: FrontEnd) -> list[str]:
    """Lines of Python that define ``spectrogram``: what the track's front end does (augment/log_mel.py)."""
    frames, bins = front_end.frames, f"num_mel_bins={front_end.mels}, dither=0.0"
    return [
        "def spectrogram(wave):  # (samples,), one channel at 16 kHz in [-1, 1], 25 ms at least",
        f'    energies = fbank(wave[None], htk_compat=True, sample_frequency=16000, window_type="hanning", {bins})',
        f"    energies = nn.functional.pad(energies[:{frames}], (0, 0, 0, max(0, {frames} - len(energies))))",
        f"    return (energies - ({front_end.mean:.9g}))[None, None] / {2 * front_end.std:.9g}",
        "",
        "",
    ]


def _sound(encoder: AudioViT, input_shape: Shape, front_end: FrontEnd) -> Exported:
    """timm's ViT with the encoder's sizes; its own pooling is the mean of the patch tokens."""
    block: Any = encoder.blocks[0]
    arguments = {
        "img_size": list(encoder.patch_embed.img_size),
        "patch_size": encoder.patch_embed.patch_size[0],
        "in_chans": input_shape[0],
        "embed_dim": encoder.width,
        "depth": len(encoder.blocks),
        "num_heads": block.attn.num_heads,
        "global_pool": "avg",
        "fc_norm": False,
    }
    config = _config("vit_base_patch16_224", encoder.width, arguments, input_shape, mean=[0.0], std=[1.0])
    called = [*_spectrogram(front_end), SPECTROGRAMS]
    if encoder.readout == "mean":
        called += ["    return model(spectrograms)"]
    else:
        called += [
            "    tokens = model.forward_features(spectrograms)[:, 1:]",
            f"    deviation = (tokens.var(1, correction=0) + {EPSILON}).sqrt()",
            "    return torch.cat([tokens.mean(1), deviation], 1)",
        ]
    return Exported(_state(encoder), config, _usage([FBANK, *TIMM], called), "timm")


def _images(
    encoder: ImageEncoder | LibraryEncoder, params: EncoderParams, input_shape: Shape, front_end: FrontEnd | None
) -> Exported:
    size = encoder.size if isinstance(encoder, LibraryEncoder) else None
    repeated = isinstance(encoder, LibraryEncoder) and encoder.repeated
    shape = (3 if repeated else input_shape[0], size or input_shape[1], size or input_shape[2])
    mean, std = (
        [float(f"{number:.7g}") for number in numbers.flatten().expand(shape[0])]  # all that float32 holds
        for numbers in encoder.normalize.buffers()
    )
    library, _, name = params.architecture.partition("/")
    arguments: dict[str, Any] = {"in_chans": shape[0]}
    if library == "timm" and stated(params.architecture).is_fixed:
        arguments["img_size"] = shape[1]
    architecture = name if library == "timm" else params.architecture
    config = _config(architecture, encoder.features, arguments, shape, mean=mean, std=std)
    called = ["def features(images):  # (B, C, H, W) in [0, 1]"]
    if front_end is not None:
        called = [*_spectrogram(front_end), SPECTROGRAMS, "    images = spectrograms"]
    if size is not None:
        scaled = f'nn.functional.interpolate(images, ({size}, {size}), mode="bilinear", antialias=True)'
        called += [f"    images = {scaled}"]
    if repeated:
        called += ["    images = images.repeat(1, 3, 1, 1)"]
    called += [
        f"    mean, std = (torch.tensor(numbers).view(-1, 1, 1) for numbers in ({mean}, {std}))",
        "    return model((images - mean) / std)",
    ]
    usage = _usage([*([FBANK] if front_end else []), *_loaded(encoder.trunk, params, shape)], called)
    return Exported(_state(encoder.trunk), config, usage, "timm" if library == "timm" else "torchvision")


def _state(network: nn.Module) -> State:
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()}


def _config(architecture: str, features: int, arguments: dict[str, Any], shape: Shape, **more: Any) -> dict[str, Any]:
    """timm's ``config.json``: ``arguments`` of its constructor, and what images it wants."""
    images = {"input_size": list(shape), "num_classes": 0, "interpolation": "bilinear", "crop_pct": 1.0, **more}
    return {
        "architecture": architecture,
        "num_classes": 0,
        "num_features": features,
        "model_args": arguments,
        "pretrained_cfg": images,
    }


def _usage(loaded: list[str], called: list[str]) -> str:
    """What is imported, the lines that make ``model``, and the function ``features``."""
    imports = sorted(
        [*(line for line in loaded if "import " in line), "import torch", "from torch import nn"], reverse=True
    )
    made = [line for line in loaded if "import " not in line]
    return "\n".join([*dict.fromkeys(imports), "", *made, "model.eval()", "", "", *called])


def _loaded(trunk: Any, params: EncoderParams, shape: Shape) -> list[str]:
    """Lines of Python that make ``model``: of timm alone, else of a constructor and what is another in ours."""
    library, _, name = params.architecture.partition("/")
    if library == "timm" and params.stem == "original":
        return TIMM
    if params.is_ours and (params.architecture == "resnet-slim" or params.width != PUBLISHED_WIDTH):
        sizes = f"width={params.width}, stem_stride={params.stem_stride}"
        return [
            "from safetensors.torch import load_file",
            "from contrastbench.models.encoders import build_encoder  # no library has a network of this width",
            "from contrastbench.params.images import EncoderParams",
            f'params = EncoderParams(architecture="{params.architecture}", {sizes})',
            f"model = build_encoder(params, {shape[0]}).trunk",
            LOADED,
        ]
    if library == "timm":
        lines = ["import timm", f'model = timm.create_model("{name}", num_classes=0, in_chans={shape[0]})']
    else:
        ours = params.is_ours
        place = "fc" if ours else classifier_place(library_classifier(params.architecture, 3, CLASSES), name)
        options = "".join(f", {key}={value}" for key, value in size_options(name, shape[1]).items())
        lines = [
            "from torchvision import models",
            f'model = models.get_model("{params.architecture if ours else name}"{options})',
            f'model.set_submodule("{place}", nn.Identity())',
        ]
    if params.is_ours or params.stem == "cifar":
        conv, stride = trunk.conv1, trunk.conv1.stride[0]
        lines += [
            f"model.conv1 = nn.Conv2d({conv.in_channels}, {conv.out_channels}, 3, {stride}, padding=1, bias=False)",
            "model.maxpool = nn.Identity()",
        ]
    return ["from safetensors.torch import load_file", *lines, LOADED]
