"""Stage ``prepare``: fetch a data set, verify it, write its arrays."""

from pathlib import Path

from contrastbench.datasets import adapter
from contrastbench.datasets.fetch import fetch
from contrastbench.datasets.store import Meta, carve_validation, write_prepared
from contrastbench.params.data import DataParams


def prepare(
    dataset: str, raw: Path, folder: Path, params: DataParams, mirror: Path | None = None, *, show_progress: bool = True
) -> Meta:
    """Leave the array store of ``dataset`` in ``folder``; a failure leaves what was there before."""
    source = adapter(dataset)
    fetch(source, raw, mirror, show_progress=show_progress)
    splits = source.read(raw, params)
    rule = source.split_rule
    if "validation" not in splits:
        splits["train"], splits["validation"] = carve_validation(splits["train"], params.validation_fraction)
        rule += f"; validation: {params.validation_fraction:.0%} of train per class, by the sha256 of the position"
    return write_prepared(folder, source, splits, rule)
