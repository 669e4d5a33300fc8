"""Published weights for the audio ViT: reads AudioMAE's and timm's checkpoints, writes timm's format."""

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from contrastbench.errors import UserError
from contrastbench.files import write_bytes
from contrastbench.models.vit import AudioViT

# Parts of a published checkpoint that are not the encoder: AudioMAE's decoder, classifiers of fine-tuned models.
NOT_THE_ENCODER = ("decoder", "mask_token", "head.", "head_dist.")


def import_encoder(encoder: AudioViT, path: Path) -> None:
    """Load the encoder's weights from an AudioMAE checkpoint (``.pth``) or a timm one (``.safetensors``, ``.pth``).

    Only tensors are read (``weights_only``); no code in the file is run. timm's ``fc_norm`` is taken as the final
    norm. Raises a one-line UserError for an unreadable file or a checkpoint of another architecture.
    """
    state = {name: tensor for name, tensor in _read(path).items() if not name.startswith(NOT_THE_ENCODER)}
    if "norm.weight" not in state:
        state = {name.replace("fc_norm.", "norm."): tensor for name, tensor in state.items()}
    expected = encoder.state_dict()
    problem = _difference(expected, state)
    if problem:
        shape = f"width {encoder.width}, depth {len(encoder.blocks)}, {encoder.patch_embed.img_size} inputs"
        raise UserError(f"{path}: not a checkpoint of this encoder ({shape}): {problem}")
    encoder.load_state_dict(state)


def export_encoder(encoder: AudioViT, path: Path) -> None:
    """Write the encoder under timm's names, whole or not at all; :func:`import_encoder` and timm's ViT can read it."""
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in encoder.state_dict().items()}
    write_bytes(path, save(state))  # save_file would report a full disk as an error of its own


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be read as a checkpoint of tensors only ({reason})") from None
    content = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{path}: does not contain a mapping of names to tensors")
    return content


def _difference(expected: dict[str, Tensor], found: dict[str, Tensor]) -> str | None:
    """The first reason why ``found`` cannot be loaded, in words."""
    missing = [name for name in expected if name not in found]
    if missing:
        return f"{missing[0]} is missing" + (f", and {len(missing) - 1} more" if len(missing) > 1 else "")
    extra = [name for name in found if name not in expected]
    if extra:
        return f"{extra[0]} does not belong in it" + (f", and {len(extra) - 1} more" if len(extra) > 1 else "")
    for name, tensor in expected.items():
        if tensor.shape != found[name].shape:
            return f"{name} has shape {tuple(found[name].shape)}, this encoder's is {tuple(tensor.shape)}"
    return None
