"""What a stage is run with that does not change its results: the device, where progress goes, where archives lie."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


def _silent(line: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Runtime:
    """Device (``cpu`` or ``cuda``), where progress is told, whether bars are shown, a folder of official archives."""

    device: str = "cpu"
    tell: Callable[[str], None] = _silent
    show_progress: bool = False
    mirror: Path | None = None
