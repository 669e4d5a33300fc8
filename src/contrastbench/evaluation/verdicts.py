"""Verdicts: which attack broke which image at which radius; everything else is derived from them.

For one seed, all attacks on all methods take the first images of the same order (:func:`attack_order`), so that two
verdicts can be compared on their common images; each seed has its own order, so that several seeds cover more images.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contrastbench.errors import UserError
from contrastbench.files import reading, replacing, write_text

_FIELDS = ("broken", "valid", "distance", "passes", "seconds")


@dataclass(frozen=True)
class Verdict:
    """What one attack did to the first n images of the order.

    broken    (n,) bool: misclassified under a valid perturbation, or without any
    valid     (n,) bool: the attack's image was finite, inside the ball and inside [0, 1]
    distance  (n,) float32: norm of the perturbation (see attacks/recount.py)
    passes    images through the model; seconds: wall time
    broken_by (n,) int64, of AutoAttack and its parts: position in their list of the attack that broke the image, -1 for
              none, -2 where the image is misclassified without any
    """

    broken: np.ndarray
    valid: np.ndarray
    distance: np.ndarray
    passes: int = 0
    seconds: float = 0.0
    broken_by: np.ndarray | None = None

    @property
    def robust(self) -> np.ndarray:
        """(n,) bool: still classified correctly."""
        return ~self.broken

    def joined(self, more: "Verdict") -> "Verdict":
        """This verdict, followed by the one on the next images."""
        return Verdict(
            np.concatenate([self.broken, more.broken]),
            np.concatenate([self.valid, more.valid]),
            np.concatenate([self.distance, more.distance]),
            self.passes + more.passes,
            self.seconds + more.seconds,
        )


EMPTY = Verdict(np.zeros(0, bool), np.zeros(0, bool), np.zeros(0, np.float32))


def attack_order(count: int, seed: int) -> np.ndarray:
    """The order in which the ``count`` test images are attacked for ``seed``: a fixed permutation."""
    return np.random.default_rng(seed).permutation(count)


class PartialStore:
    """Verdicts of an unfinished evaluation, one file per attack, written after every batch.

    ``identity`` identifies the model, the data, the parameters and the code. Files with another identity are
    deleted when the store is opened.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder, self.identity = folder, identity
        mark = folder / "identity"
        if not mark.is_file() or mark.read_text(encoding="utf-8") != identity:
            self.clear()
            write_text(mark, identity)

    def save(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """Write the state of one attack, whole or not at all."""
        with replacing(self.folder / f"{name}.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    def load(self, name: str) -> dict[str, np.ndarray]:
        """What was saved under ``name``; empty where nothing was."""
        path = self.folder / f"{name}.npz"
        if not path.is_file():
            return {}
        with reading(path, "file of verdicts", f"delete {self.folder} to start again"), np.load(path) as archive:
            return dict(archive)

    def clear(self) -> None:
        """Delete the store."""
        shutil.rmtree(self.folder, ignore_errors=True)


def to_arrays(verdict: Verdict) -> dict[str, np.ndarray]:
    """A verdict as arrays for an ``.npz`` file."""
    arrays = {name: np.asarray(getattr(verdict, name)) for name in _FIELDS}
    return arrays if verdict.broken_by is None else arrays | {"broken_by": verdict.broken_by}


def from_arrays(arrays: dict[str, np.ndarray]) -> Verdict:
    """The inverse of :func:`to_arrays`; without arrays, the empty verdict."""
    if not arrays:
        return EMPTY
    return Verdict(
        arrays["broken"].astype(bool),
        arrays["valid"].astype(bool),
        arrays["distance"].astype(np.float32),
        int(arrays["passes"]),
        float(arrays["seconds"]),
        arrays.get("broken_by"),
    )


def write_verdicts(path: Path, verdicts: dict[str, Verdict]) -> None:
    """Write verdicts as one ``.npz`` file with the arrays ``NAME/FIELD``."""
    arrays = {f"{name}/{key}": value for name, verdict in verdicts.items() for key, value in to_arrays(verdict).items()}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_verdicts(path: Path) -> dict[str, Verdict]:
    """What :func:`write_verdicts` wrote."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; run the stage attack first")
    parts: dict[str, dict[str, np.ndarray]] = {}
    with reading(path, "file of verdicts", "delete it and run the stage attack again"):
        with np.load(path) as archive:
            arrays = dict(archive)
        for key, array in arrays.items():
            name, _, field = key.rpartition("/")
            parts.setdefault(name, {})[field] = array
        return {name: from_arrays(fields) for name, fields in parts.items()}
