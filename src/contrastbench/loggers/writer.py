"""What a logger is told of a training, and what it has to do."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Training:
    """One training, the same before and after a kill.

    name    ``PHASE/TRACK/DATASET/METHOD/SEED``; the phase is ``pretrain``, ``tune-1`` or ``tune-2``
    key     16 hexadecimal digits, of the job, its parameters, its code and its data
    preset  whose parameters they are
    params  what training reads, nested
    folder  where loggers keep what they write on this machine
    """

    name: str
    key: str
    preset: str
    params: dict[str, Any]
    folder: Path


class Writer(Protocol):
    """Takes a training's log entries, in order and from its first on, also where a killed training goes on.

    What it holds already from before the kill it holds once all the same: the numbers of the steps tell.
    """

    def write(self, step: int, values: dict[str, float]) -> None:
        """One entry, which may be empty of any of the values that others have."""

    def close(self, *, finished: bool) -> None:
        """No entry follows; ``finished`` is false where training was broken off."""
