"""Stage ``prepare``: fetch a data set, verify it, or read one of the user's own; write its arrays."""

from collections.abc import Iterable, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from contrastbench.datasets import adapter
from contrastbench.datasets.base import Split
from contrastbench.datasets.fetch import fetch
from contrastbench.datasets.groups import check_groups
from contrastbench.datasets.locate import keep_state, located
from contrastbench.datasets.own import Reading
from contrastbench.datasets.returned import check_adapter, check_returned
from contrastbench.datasets.scratch import scratch_in
from contrastbench.datasets.store import About, carve_validation, open_prepared, write_prepared
from contrastbench.jobs.runtime import Runtime
from contrastbench.own_method import seed_libraries
from contrastbench.params.plugins import file_of
from contrastbench.pipeline.enough import check_enough, check_prepared
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job


def prepare(grid: Grid, job: Job, runtime: Runtime) -> None:
    """Leave the array store of the job's data set; a failure leaves what was there before."""
    declared = grid.params.datasets.get(job.dataset)
    prepared = grid.layout.prepared(job.dataset)
    with scratch_in(prepared.parent):
        about, splits, rule = _published(grid, job.dataset, runtime) if declared is None else _own(grid, job, runtime)
    check_groups(job.dataset, splits)
    meta = write_prepared(prepared, about, splits, rule)
    if declared is not None:
        keep_state(declared, grid.root, prepared)
    elif file_of("data set", job.dataset):
        check_prepared(grid, job.dataset, open_prepared(prepared))
    counts = ", ".join(f"{split} {facts.count:,}" for split, facts in meta.splits.items())
    skipped = sum(map(len, meta.skipped.values()))
    note = f"; {skipped} files left out, named in meta.json" if skipped else ""
    runtime.tell(f"{prepared}: {counts}; data hash {meta.hash}{note}")


def _published(grid: Grid, name: str, runtime: Runtime) -> tuple[About, dict[str, Split], str]:
    params, raw, source = grid.params.data, grid.layout.raw(name), adapter(name)
    check_adapter(source)
    fetch(source, raw, runtime.mirror, show_progress=runtime.show_progress)
    seed_libraries(0)  # for readers that draw
    splits, rule = source.read(raw, params), source.split_rule
    check_returned(name, source.modality, len(source.classes), splits)
    if "test" in splits and "validation" not in splits:
        splits["train"], splits["validation"] = carve_validation(splits["train"], params.validation_fraction)
        rule += f"; validation: {params.validation_fraction:.0%} of train per class, by the sha256 of the position"
    return source, splits, rule


def _own(grid: Grid, job: Job, runtime: Runtime) -> tuple[About, dict[str, Split], str]:
    """A data set that the parameters declare."""
    name, declared = job.dataset, grid.params.datasets[job.dataset]
    path = located(declared, grid.root)
    reading = Reading(
        name,
        path,
        grid.params.data,
        progress=partial(_bar, name, shown=runtime.show_progress),
        check=lambda labels: check_enough(grid, name, labels, path),
    )
    own = import_module(declared.module).read(reading, declared)
    if own.modality == "audio":
        lengths = {split: np.diff(part.columns["offsets"]) for split, part in own.splits.items()}
        labels = {split: part.y for split, part in own.splits.items()}
        check_enough(grid, name, labels, path, lengths, own.splits["test"].columns.get("group"))
    for line in own.told:
        runtime.tell(f"{name}: {line}")
    return own, own.splits, own.split_rule


def _bar(name: str, items: Sequence[Any], *, shown: bool) -> Iterable[Any]:
    from rich.console import Console
    from rich.progress import track

    return track(items, f"read {name}", console=Console(stderr=True), transient=True, disable=not shown)
