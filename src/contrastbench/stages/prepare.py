"""Stage ``prepare``: fetch a data set, verify it, write its arrays."""

from contrastbench.datasets import adapter
from contrastbench.datasets.fetch import fetch
from contrastbench.datasets.groups import check_groups
from contrastbench.datasets.scratch import scratch_in
from contrastbench.datasets.store import carve_validation, write_prepared
from contrastbench.jobs.runtime import Runtime
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job


def prepare(grid: Grid, job: Job, runtime: Runtime) -> None:
    """Leave the array store of the job's data set; a failure leaves what was there before."""
    params, layout, source = grid.params.data, grid.layout, adapter(job.dataset)
    raw = layout.raw(job.dataset)
    fetch(source, raw, runtime.mirror, show_progress=runtime.show_progress)
    with scratch_in(layout.prepared(job.dataset).parent):
        splits = source.read(raw, params)
    rule = source.split_rule
    if "test" in splits and "validation" not in splits:
        splits["train"], splits["validation"] = carve_validation(splits["train"], params.validation_fraction)
        rule += f"; validation: {params.validation_fraction:.0%} of train per class, by the sha256 of the position"
    check_groups(job.dataset, splits)
    meta = write_prepared(layout.prepared(job.dataset), source, splits, rule)
    counts = ", ".join(f"{split} {facts.count:,}" for split, facts in meta.splits.items())
    skipped = sum(map(len, meta.skipped.values()))
    note = f"; {skipped} files left out, named in meta.json" if skipped else ""
    runtime.tell(f"{layout.prepared(job.dataset)}: {counts}; data hash {meta.hash}{note}")
