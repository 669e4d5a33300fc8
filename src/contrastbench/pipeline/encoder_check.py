"""Before anything runs: do libraries know the architectures that are asked for, and are files of weights there?"""

from collections.abc import Iterable
from pathlib import Path

from contrastbench.errors import UserError
from contrastbench.params.images import IMPORTED, EncoderParams
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job


def check_encoders(grid: Grid, jobs: Iterable[Job]) -> None:
    """Refuse an architecture that its library does not know, and weights that are neither there nor imported yet.

    Libraries are imported where an encoder is of one.
    """
    known: set[str] = set()
    for job in jobs:
        encoder = getattr(grid.pretrain_params(job), "encoder", None)
        if not isinstance(encoder, EncoderParams):
            continue
        if encoder.pretrained and not encoder.pretrained.startswith(IMPORTED):
            remedy = "; it is a folder, name a file in it" if Path(encoder.pretrained).is_dir() else ""
            raise UserError(f"{job.track}, {job.method}: {encoder.pretrained}: no such file of weights{remedy}")
        if not encoder.is_ours and encoder.architecture not in known:
            from contrastbench.models.libraries import stated  # torch

            stated(encoder.architecture)
            known.add(encoder.architecture)
