"""Checkpoints: a killed run continues where it stopped."""

import io
from pathlib import Path
from typing import Any

import torch

from contrastbench.files import reading, write_bytes


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` (tensors, numbers, strings, lists, mappings) whole or not at all.

    Serialised in memory first, which takes the file's size again: torch's own writer reports a full disk only as a
    RuntimeError.
    """
    content = io.BytesIO()
    torch.save(state, content)
    write_bytes(path, content.getbuffer())


def load_checkpoint(path: Path, identity: str) -> dict[str, Any] | None:
    """The state at ``path``; None where there is none or it belongs to other parameters or code.

    ``identity`` names the run (hash of parameters and code); a checkpoint of another run is not continued.
    """
    if not path.is_file():
        return None
    with reading(path, "checkpoint", "delete it to start again"):
        state = torch.load(path, map_location="cpu", weights_only=True)
        return state if state.get("identity") == identity else None
