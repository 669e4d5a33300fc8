"""The robustness suite of a job: its parameters, and the images that it attacks."""

from contrastbench.datasets.store import Prepared
from contrastbench.errors import UserError
from contrastbench.jobs.weights import training_data
from contrastbench.params.robustness import RobustnessParams
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job


def suite(grid: Grid, job: Job) -> tuple[RobustnessParams, Prepared]:
    """The suite's parameters for the data set of ``job``, and its data.

    UserError for a track without a suite, a data set without radii, and data that are not images.
    """
    params = grid.track(job.track).robustness
    if params is None:
        raise UserError(f"track {job.track!r} has no section `robustness`")
    params = params.on(job.dataset, job.dataset)
    data = training_data(grid, job)
    if data.meta.modality != "image":
        raise UserError(f"{job.dataset}: the robustness suite attacks images")
    return params, data
