"""Files of weights that others have written: read without running code, and fitted to a network by name."""

import argparse
import pickle
import re
import sys
import zipfile
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, TypeGuard

import torch
from safetensors.torch import load
from torch import Tensor, nn

from contrastbench.errors import UserError
from contrastbench.files import reading

State = dict[str, Tensor]
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "teacher")  # where checkpoints keep the weights
PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and of torch.compile
# Objects that training scripts save beside the weights, and that hold plain values alone.
HARMLESS = (argparse.Namespace,)
# What stands beside an encoder: classifiers, heads of self-supervised methods, a masked autoencoder's decoder.
NO_ENCODER = (
    *("fc.", "head.", "heads.", "head_dist.", "classifier.", "last_linear.", "aux_logits."),
    *("projector.", "projection_head.", "projection.", "predictor.", "prediction_head.", "prototypes.", "queue"),
    *("decoder", "mask_token"),
)


def read_weights(path: Path) -> State:
    """Tensors by name: a ``.safetensors`` file, or what ``torch.save`` wrote of a ``state_dict``, also a wrapped one.

    No code in the file is run: pickled objects other than tensors and plain values are a UserError, as are values that
    are not finite.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file of weights")
    content: Any
    if _is_torchscript(path):  # of which torch would advise to run its code
        raise UserError(f"{path}: a TorchScript archive, which holds code; save model.state_dict(), not the model")
    stored = path.read_bytes()  # torch.load tells of a file that is cut off as of one that the system refuses
    with reading(path, "file of weights", "save model.state_dict() again"):
        try:
            if path.suffix == ".safetensors":
                content = load(stored)
            else:
                with torch.serialization.safe_globals([*HARMLESS]):
                    content = torch.load(BytesIO(stored), map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            named = re.search(r"GLOBAL ([\w.]+)", str(error))
            raise UserError(
                f"{path}: not a file of tensors alone{f' (it holds a {named[1]})' if named else ''}; other objects "
                "could run code and are not read: save model.state_dict(), not the model"
            ) from None
    while isinstance(content, dict) and (name := _wrapper(content)) is not None:
        content = content[name]
    if not _are_weights(content):
        others = [str(entry[0]) for entry in content.items() if not _is_weight(entry)] if _is_filled(content) else []
        raise UserError(
            f"{path}: holds no tensors by name (a state_dict, or one under {', '.join(WRAPPERS)} or the only other "
            f"name of one){f', but {_first(others)}' if others else ''}"
        )
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in content):
            content = {name.removeprefix(prefix): tensor for name, tensor in content.items()}
    for name, tensor in content.items():
        if not torch.isfinite(tensor).all():
            raise UserError(f"{path}: {name} holds values that are not finite; the training of this model has diverged")
    return content


def allow_harmless() -> None:
    """Have every ``torch.load`` of this process read ``HARMLESS`` objects, without running code."""
    torch.serialization.add_safe_globals([*HARMLESS])


def _is_torchscript(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):  # no archive, or a damaged one, as reading it will tell
        return False


def _wrapper(content: dict[object, object]) -> object | None:
    """The name under which ``content`` keeps the weights: one of ``WRAPPERS``, else the only one with tensors."""
    known: list[object] = [name for name in WRAPPERS if isinstance(content.get(name), dict)]
    named = known[:1] or [name for name, part in content.items() if _are_weights(part)]
    return named[0] if len(named) == 1 else None


def _is_filled(content: object) -> TypeGuard[dict[object, object]]:
    return isinstance(content, dict) and bool(content)


def _are_weights(content: object) -> bool:
    return _is_filled(content) and all(map(_is_weight, content.items()))


def _is_weight(entry: tuple[object, object]) -> bool:
    return isinstance(entry[0], str) and isinstance(entry[1], Tensor)


def load_exactly(network: nn.Module, state: State, refusal: str) -> None:
    """Load a ``state`` that has the names and shapes of ``network``'s; else a UserError that ``refusal`` begins."""
    problem = difference(network.state_dict(), state)
    if problem:
        raise UserError(f"{refusal}; {problem}")
    network.load_state_dict(state, strict=False)


def load_encoder(network: nn.Module, state: State, refusal: str) -> str:
    """Load what ``state`` holds of ``network``, an encoder without classifier; return the prefix of its names there.

    The prefix (``backbone.``, ``encoder.``, ...) is the one under which most of the network's tensors lie; classifiers
    and heads are left out. Where names or shapes are others, the parts may be numbered instead, as they are by
    ``nn.Sequential(*network.children())``; else timm's own conversion for the architecture is tried: it knows the names
    of the first authors' files, and scales a vision transformer's positions. A UserError, which ``refusal`` begins,
    where the network's tensors are not all there, or others are.
    """
    expected = network.state_dict()
    prefix, inside = _inside(state, {name: name for name in expected})
    candidates = [inside, _inside(state, _numbered(network))[1], _converted(network, inside)]
    fitting = (each for each in candidates if difference(expected, each) is None)
    load_exactly(network, next(fitting, inside), refusal)
    return prefix


def _inside(state: State, names: Mapping[str, str]) -> tuple[str, State]:
    """The prefix before most of ``names``, and what stands behind it, by what the names stand for, without heads."""
    prefix = _prefix(state, names)
    found = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    return prefix, _of_encoder({names.get(name, name): tensor for name, tensor in found.items()}, names.values())


def _numbered(network: nn.Module) -> dict[str, str]:
    """The names of ``network``'s tensors by those that they have where its parts are numbered."""
    parts = {name: number for number, (name, _) in enumerate(network.named_children())}
    split = {name: name.partition(".") for name in network.state_dict()}
    return {f"{parts[part]}.{rest}": name for name, (part, _, rest) in split.items() if part in parts}


def _converted(network: nn.Module, state: State) -> State:
    """``state`` as timm converts files for ``network``; as it is, where it converts none, or only others."""
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    try:
        return _of_encoder(convert(dict(state), network), network.state_dict()) if convert else state
    except Exception:  # written for the files that its authors knew
        return state


def _of_encoder(state: State, expected: Collection[str]) -> State:
    return {name: tensor for name, tensor in state.items() if name in expected or not name.startswith(NO_ENCODER)}


def _prefix(names: Iterable[str], expected: Collection[str]) -> str:
    """What stands before the names of most ``expected`` tensors; of several alike, the first."""
    found: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")
        found.update(".".join([*parts[:at], ""]) for at in range(len(parts)) if ".".join(parts[at:]) in expected)
    return found.most_common(1)[0][0] if found else ""


def difference(expected: State, state: State) -> str | None:
    """In what ``state`` differs from the names and shapes that are ``expected``, with the first names of each kind."""
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
    return "; ".join(told) or None


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "()"


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
