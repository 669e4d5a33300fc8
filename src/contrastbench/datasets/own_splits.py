"""Examples of the user's own without files of theirs: classes, groups and splits of arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from contrastbench.datasets.base import Split
from contrastbench.datasets.copies import digests, merged, twins
from contrastbench.datasets.own import SPLITS, Own, Reading
from contrastbench.datasets.store import carve_validation
from contrastbench.errors import UserError
from contrastbench.params.declared import GivenSplit


def read_own_splits(
    reading: Reading, modality: str, source: str, parts: dict[str, Split], rule: GivenSplit, bad: Sequence[str] = ()
) -> Own:
    """The data set of examples without files: ``parts`` are given splits, or all of them as ``train``.

    Their ``y`` are numbers or texts; ``bad`` names those that are left out. Copies, and examples of one ``group``, stay
    in one split.
    """
    classes, y = _numbered([np.asarray(part.y) for part in parts.values()])
    if len(classes) < 2:
        raise UserError(f"{reading.path}: one class, {classes[0]}; two at least are needed")
    parts = {split: replace(parts[split], y=numbers) for split, numbers in zip(parts, y, strict=True)}
    if all("group" in part.columns for part in parts.values()):
        _, groups = _numbered([part.columns["group"] for part in parts.values()])
        for split, group in zip(parts, groups, strict=True):
            parts[split] = replace(parts[split], columns={**parts[split].columns, "group": group})
    said = ", ".join(f"{split} as given" for split in parts)
    if rule.by == "fraction":
        assert rule.test is not None
        parts["train"], parts["test"] = _carved(parts["train"], rule.test)
        said = f"test: {rule.test:.0%} of each class by the sha256 of the position, or group"
    if "validation" not in parts:
        share = reading.params.validation_fraction
        parts["train"], parts["validation"] = _carved(parts["train"], share)
        said += f"; validation: {share:.0%} of train, in the same way"
    parts = {split: parts[split] for split in SPLITS}
    reading.check({split: np.asarray(part.y) for split, part in parts.items()})
    for split in ("train", "test"):
        gone = sorted({*range(len(classes))} - {*np.asarray(parts[split].y).tolist()})
        if gone:
            raise UserError(f"{reading.path}: {split} has no example of the class {classes[gone[0]]!r}")
    names = {split: [f"{split}[{at}]" for at in range(part.count)] for split, part in parts.items()}
    parts["train"] = replace(parts["train"], skipped=tuple(bad))
    told = twins(parts, names)
    return Own(reading.name, modality, tuple(classes), source, said, parts, tuple(told))


def _numbered(values: Sequence[np.ndarray]) -> tuple[list[str], list[np.ndarray]]:
    """The different values of several arrays as texts, in order, and each array with their numbers in its place."""
    names, numbers = np.unique(np.concatenate(values), return_inverse=True)
    ends = np.cumsum([len(array) for array in values])[:-1]
    return [str(name) for name in names.tolist()], np.split(numbers.astype(np.int64), ends)


def _carved(part: Split, share: float) -> tuple[Split, Split]:
    """``part`` without a ``share``, and that share, as `carve_validation` has it; copies stay together."""
    units = part.columns.get("group", np.arange(part.count)).astype(str).tolist()
    alike: dict[bytes, list[int]] = {}
    for position, digest in enumerate(digests(part)):
        alike.setdefault(digest, []).append(position)
    whole = merged(units, [group for group in alike.values() if len(group) > 1])
    columns = {"own " + name: column for name, column in part.columns.items() if name == "group"}
    columns |= {name: column for name, column in part.columns.items() if name != "group"}
    halves = carve_validation(replace(part, columns={**columns, "group": np.array(whole)}), share)
    rest, taken = (replace(half, columns=_renamed(half.columns)) for half in halves)
    return rest, taken


def _renamed(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix("own "): column for name, column in columns.items() if name != "group"}
