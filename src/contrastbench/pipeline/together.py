"""What devices that train one encoder together must be: no more than there are, and able to share its batches."""

from collections.abc import Iterable
from typing import Any

from contrastbench.errors import UserError
from contrastbench.params.track import TrackParams
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job


def check_devices(devices: Any, device: str, there: int | None, asked: str = "--devices ") -> None:
    """Refuse more ``devices`` than are ``there``: GPUs that may be used, or cores; None where nobody knows."""
    if type(devices) is int and 1 <= devices <= (there or devices):
        return
    which = f"from 1 to {there}, the {'GPUs' if device == 'cuda' else 'cores'} available here" if there else "from 1 on"
    raise UserError(f"{asked}{devices}: must be a whole number {which}")


def sharing(track: TrackParams, devices: int) -> int:
    """How many of ``devices`` train one encoder of a track: a batch of graphs is none of rows that they could share."""
    return 1 if track.modality == "graph" else devices


def check_batches(grid: Grid, jobs: Iterable[Job], devices: int) -> None:
    """Refuse a training whose batches ``devices`` cannot share equally."""
    for job in jobs:
        for training in grid.track(job.track).pretrain(job.method, job.trained.dataset).phases():
            count = sharing(grid.track(job.track), devices)
            if training.batch_size % count:
                below = training.batch_size // count * count
                fitting = f"{below} or {below + count}" if below else str(count)
                raise UserError(
                    f"{job.track}, {job.method}: training.batch_size = {training.batch_size}: {count} devices cannot "
                    f"share it equally; {fitting} would do"
                )
