"""What every stage that measures something needs: time, memory, and the frame of a result row."""

import hashlib
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from contrastbench.evaluation.intervals import wilson
from contrastbench.params.base import Section, params_hash
from contrastbench.pipeline.layout import Job, Layout
from contrastbench.results.rows import Row, pack_correct, row_path, write_row


def device_name(device: str) -> str:
    """``cpu`` or the accelerator's own name."""
    if device != "cuda":
        return device
    import torch

    return torch.cuda.get_device_name(0)


class Meter:
    """Wall time since it was made, and the peak memory of this process (of the device on a GPU)."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()

    @property
    def wall_s(self) -> float:
        """Seconds since the meter was made."""
        return round(time.perf_counter() - self._begun, 3)

    @property
    def peak_mb(self) -> float:
        """Peak memory in MiB."""
        torch = sys.modules.get("torch")  # a stage that never loaded torch has used no GPU
        if torch is not None and torch.cuda.is_available():
            return round(torch.cuda.max_memory_allocated() / 2**20, 1)
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10, 1)


@dataclass
class RowWriter:
    """Writes the rows of one (method, data set, seed) into the folder of ``stage``.

    sections   every parameter section that the values depend on, in the order of the stages
    code       the fingerprints of the stages that led to the values, in the same order
    """

    layout: Layout
    stage: str
    job: Job
    sections: Sequence[Section]
    code: list[str]
    data_hash: str
    device: str
    meter: Meter = field(default_factory=Meter)

    def accuracy(self, protocol: str, correct: np.ndarray, detail: dict | None = None, metric: str = "top1") -> None:
        """Write the share of ``correct`` (n,) with Wilson's interval and the verdict on every example."""
        hits, n = int(correct.sum()), len(correct)
        self.value(protocol, metric, hits / n, n, wilson(hits, n), pack_correct(correct), detail)

    def value(
        self,
        protocol: str,
        metric: str,
        value: float,
        n: int,
        interval: tuple[float, float] | None = None,
        correct: str | None = None,
        detail: dict | None = None,
    ) -> None:
        """Write one row of any metric."""
        job = self.job
        row = Row(
            track=job.track,
            method=job.method,
            dataset=job.dataset,
            protocol=protocol,
            metric=metric,
            seed=job.seed,
            value=value,
            interval=interval,
            n=n,
            preset=self.layout.preset,
            params_hash=_joined_hash([params_hash(section) for section in self.sections]),
            data_hash=self.data_hash,
            code_hash=_joined_hash(self.code),
            device=self.device,
            wall_s=self.meter.wall_s,
            peak_mb=self.meter.peak_mb,
            correct=correct,
            detail=detail or {},
        )
        write_row(row_path(self.layout.rows, self.stage, row), row)


def _joined_hash(hashes: list[str]) -> str:
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()[:12]
