"""The frame of a job's result rows: what they name besides the value itself."""

from collections.abc import Sequence

import numpy as np

from contrastbench.evaluation.intervals import wilson
from contrastbench.jobs.meter import Meter
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.pipeline.records import trained_record
from contrastbench.registry import WITHOUT_ENCODER
from contrastbench.results.protocols import Protocol
from contrastbench.results.rows import Row, pack_correct


class RowWriter:
    """Collects the rows of one method, data set and seed.

    A warning of the training run (collapse, a loss that never moved) becomes a failed check of every row, so that no
    table hides it. The device is the one that trained the encoder.
    """

    def __init__(self, grid: Grid, stage: str, job: Job, data_hash: str) -> None:
        self.grid, self.stage, self.job, self.data_hash = grid, stage, job, data_hash
        record = {} if job.method in WITHOUT_ENCODER else trained_record(grid, job)
        self.device: str = record.get("device", "cpu")
        self.warnings: list[str] = record.get("warnings", [])
        self.trained_data_hash: str | None = record.get("data_hash")
        self.rows: list[Row] = []
        self._meter = Meter()

    def accuracy(
        self,
        protocol: Protocol,
        correct: np.ndarray,
        detail: dict | None = None,
        failed: Sequence[str] = (),
        metric: str = "top1",
    ) -> None:
        """Add the share of ``correct`` (n,) with Wilson's interval and the verdict on every example."""
        hits, n = int(correct.sum()), len(correct)
        self.value(protocol, metric, hits / n, n, wilson(hits, n), pack_correct(correct), detail, failed)

    def value(
        self,
        protocol: Protocol,
        metric: str,
        value: float,
        n: int,
        interval: tuple[float, float] | None = None,
        correct: str | None = None,
        detail: dict | None = None,
        failed: Sequence[str] = (),
    ) -> None:
        """Add one row of any metric; ``failed`` are the sanity checks that it failed."""
        job, lines = self.job, [*self.warnings, *failed]
        row = Row(
            preset=self.grid.preset,
            stage=self.stage,
            track=job.track,
            dataset=job.dataset,
            method=job.method,
            base=self.grid.track(job.track).base_method(job.method),
            protocol=protocol,
            metric=metric,
            seed=job.seed,
            value=value,
            interval=interval,
            n=n,
            params_hash=self.grid.asked_params(self.stage, job, protocol.source),
            data_hash=self.data_hash,
            trained_data_hash=self.trained_data_hash,
            code_hash=self.grid.asked_code(self.stage, job, protocol.source),
            device=self.device,
            wall_s=self._meter.wall_s,
            peak_mb=self._meter.peak_mb,
            correct=correct,
            detail=(detail or {}) | ({"failed_checks": lines} if lines else {}),
        )
        self.rows.append(row)
