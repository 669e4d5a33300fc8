"""Networks of timm and torchvision by name: ``timm/NAME``, ``torchvision/NAME``."""

import difflib
import logging
from dataclasses import dataclass
from typing import Any

from torch import nn

from contrastbench.errors import UserError

# torchvision's networks that are built for one size of images, and what their constructors call it.
SIZES = {"vit_": "image_size", "maxvit": "input_size"}
CLASSES = 1000  # of torchvision's networks, if it is not told of others


@dataclass(frozen=True)
class Stated:
    """What a library says of an architecture: its images' size, whether it takes no other, their mean and deviation."""

    size: int
    is_fixed: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]


def stated(architecture: str) -> Stated:
    """What the library says; an unknown architecture is a UserError."""
    library, name = _known(architecture)
    if library == "timm":
        import timm

        cfg: Any = timm.get_pretrained_cfg(name)
        return Stated(cfg.input_size[-1], cfg.fixed_input_size, tuple(cfg.mean), tuple(cfg.std))
    from torchvision import models

    transform = models.get_model_weights(name).DEFAULT.transforms()
    return Stated(transform.crop_size[0], _size_key(name) is not None, tuple(transform.mean), tuple(transform.std))


def library_classifier(architecture: str, channels: int, classes: int) -> nn.Module:
    """A freshly initialised network: images (B, C, H, W) to outputs (B, classes)."""
    library, name = _known(architecture)
    if library == "timm":
        import timm

        return timm.create_model(name, num_classes=classes, in_chans=channels)
    from torchvision import models

    _require_colour(architecture, channels, f"for grey ones there is timm/{name}")
    return models.get_model(name, num_classes=classes)


def library_trunk(architecture: str, channels: int, size: int, hub: str | None = None) -> nn.Module:
    """A network without its classifier, for images of ``size``; freshly initialised, or with the weights of a ``hub``.

    Those are the library's own (``default``) or, for timm, a repository's (``hf-hub:OWNER/NAME``).
    """
    library, name = _known(architecture)
    try:
        if library == "timm":
            return _timm_trunk(name, channels, size, hub)
        _require_colour(architecture, channels, "with encoder.grey_as_colour: true grey ones become such")
        return _torchvision_trunk(architecture, size, hub)
    except UserError:
        raise
    except Exception as error:  # downloads fail in many ways, constructors refuse sizes in their own
        reason = str(error).partition("\n")[0]
        what = f"weights {hub!r} cannot be had" if hub else f"cannot be built for images of {size} x {size}"
        remedy = "; name a file in encoder.pretrained" if hub else ""
        raise UserError(f"{architecture}: {what} ({type(error).__name__}: {reason}){remedy}") from None


def _timm_trunk(name: str, channels: int, size: int, hub: str | None) -> nn.Module:
    import timm

    options: dict[str, Any] = {"num_classes": 0, "in_chans": channels, "pretrained": hub is not None}
    if stated(f"timm/{name}").is_fixed:
        options["img_size"] = size
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # retries are no news; what comes of them is
    if hub not in (None, "default"):
        options["pretrained_cfg_overlay"] = {"hf_hub_id": hub.removeprefix("hf-hub:"), "url": "", "file": None}
    return timm.create_model(name, **options)


def _torchvision_trunk(architecture: str, size: int, hub: str | None) -> nn.Module:
    from torchvision import models

    name = architecture.partition("/")[2]
    if hub not in (None, "default"):
        raise UserError(f"{architecture}: {hub} holds timm's weights; torchvision's own are `default`")
    network = models.get_model(name, weights=None if hub is None else "DEFAULT", **size_options(name, size))
    network.set_submodule(classifier_place(network, architecture), nn.Identity())
    return network


def classifier_place(network: nn.Module, architecture: str) -> str:
    """Where torchvision's ``network`` has its last linear layer; UserError where that is not its classifier."""
    linear = [(place, each) for place, each in network.named_modules() if isinstance(each, nn.Linear)]
    if not linear or linear[-1][1].out_features != CLASSES:
        raise UserError(f"{architecture}: does not end in a linear classifier that could be taken off")
    return linear[-1][0]


def size_options(name: str, size: int) -> dict[str, Any]:
    """What torchvision's constructor of ``name`` is told of images of ``size``; nothing where it does not ask."""
    key = _size_key(name)
    return {} if key is None else {key: size if key == "image_size" else (size, size)}


def give_cifar_stem(network: nn.Module, architecture: str) -> None:
    """Make the first convolution 3 x 3 with stride 1, and leave out the max-pool after it, as for CIFAR's images."""
    first = getattr(network, "conv1", None)
    if not isinstance(first, nn.Conv2d) or not hasattr(network, "maxpool"):
        raise UserError(
            f"{architecture}: has no stem of one convolution and a max-pool, as ResNets have; remove encoder.stem, and "
            "scale small images with encoder.input_size"
        )
    conv = nn.Conv2d(first.in_channels, first.out_channels, kernel_size=3, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    network.conv1, network.maxpool = conv, nn.Identity()


def _require_colour(architecture: str, channels: int, remedy: str) -> None:
    if channels != 3:
        raise UserError(f"{architecture}: takes colour images only; {remedy}")


def _size_key(name: str) -> str | None:
    return next((key for start, key in SIZES.items() if name.startswith(start)), None)


def _known(architecture: str) -> tuple[str, str]:
    """Library and name; an unknown name is a UserError with the nearest ones."""
    library, _, name = architecture.partition("/")
    if library == "timm":
        import timm

        if not timm.is_model(name):
            _refuse(name, timm.list_models(), library)
    else:
        from torchvision import models

        if name not in models.list_models(module=models):
            _refuse(name, models.list_models(module=models), "torchvision.models")
    return library, name


def _refuse(name: str, known: list[str], library: str) -> None:
    near = difflib.get_close_matches(name, known)
    there = f"did you mean {' or '.join(near)}?" if near else f"{library}.list_models() names those that there are"
    raise UserError(f"{library} has no model {name!r}; {there}")
