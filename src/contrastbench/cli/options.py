"""Options and arguments that several commands share."""

from typing import Annotated

import typer

from contrastbench.errors import UserError

Track = Annotated[str, typer.Argument(help="unremix, swaro or uamix.")]
Dataset = Annotated[str, typer.Argument(help="A data set; see `contrastbench list`.")]
MethodName = Annotated[str, typer.Argument(metavar="METHOD", help="A method, or a variant from params.yaml.")]
Seed = Annotated[int, typer.Argument(help="The seed: 0, 1, 2, ...")]
Seeds = Annotated[list[int], typer.Argument(metavar="SEED...", help="One seed or several, judged one after another.")]
Preset = Annotated[str, typer.Option(help="default (params.yaml alone) or the name of a file in presets/.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto: cuda where there is one.")]


def resolve_device(device: str) -> str:
    """``cpu`` or ``cuda``; an unknown or absent device is a UserError."""
    import torch

    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"--device {device}: must be auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: this machine has no usable CUDA device; use --device cpu")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device
