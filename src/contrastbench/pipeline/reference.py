"""What jobs cost on another machine, shipped with the package: to go by where nothing has been measured yet.

``reference.json`` is written by ``benchmarks/reference_costs.py``.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from contrastbench.pipeline.estimate import Measured, Task

NAME = "reference.json"


@dataclass(frozen=True)
class Reference:
    """What was measured.

    machine        that measured it, in words
    calibration_s  its :func:`contrastbench.pipeline.calibration.calibration_s`
    shapes         of the training examples of each data set, (N, ...)
    data_bytes     what each prepared data set takes
    jobs           one for each that is like others but for its seed
    """

    machine: str
    calibration_s: float
    shapes: dict[str, tuple[int, ...]]
    data_bytes: dict[str, int]
    jobs: tuple[Measured, ...]


@cache
def reference() -> Reference:
    """The shipped measurements."""
    content = json.loads((files("contrastbench.pipeline") / NAME).read_text(encoding="utf-8"))
    jobs = tuple(Measured(Task(*task), *measured) for task, *measured in content.pop("jobs"))
    shapes = {name: tuple(shape) for name, shape in content.pop("shapes").items()}
    return Reference(**content, shapes=shapes, jobs=jobs)


def as_json(measured: Reference) -> str:
    """The text of the file: a line each of the machine, its speed and the data sets, then a job a line."""
    head = {key: json.dumps(value) for key, value in vars(measured).items() if key != "jobs"}
    jobs = ",\n".join(
        json.dumps([[*vars(job.task).values()], job.seconds, job.peak_mb, job.size]) for job in measured.jobs
    )
    return "{\n" + "".join(f'"{key}": {value},\n' for key, value in head.items()) + f'"jobs": [\n{jobs}\n]\n}}\n'
