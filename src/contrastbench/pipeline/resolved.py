"""A run has one set of parameters: those that Snakemake read when it began, whatever params.yaml says later.

Snakemake keeps the resolved parameters in a file named by their hash and tells its jobs of it by an environment
variable, which processes on other machines of a cluster inherit too.
"""

import json
import os
from pathlib import Path

from contrastbench.errors import UserError
from contrastbench.files import reading, write_text
from contrastbench.params.base import params_hash
from contrastbench.params.root import Params, from_content, load

PARAMS_VARIABLE = "CONTRASTBENCH_PARAMS"


def resolved(preset: str, root: Path = Path()) -> Params:
    """The parameters that the run of ``preset`` around this process was begun with, else those of the project."""
    told = os.environ.get(PARAMS_VARIABLE)
    if not told or Path(told).parts[1:2] != (preset,):
        return load(preset, root)
    path = root / told
    if not path.is_file():
        raise UserError(f"{path}: the parameters of this run are gone; start it again")
    with reading(path, "file of a run's parameters", "start the run again"):
        content = json.loads(path.read_text(encoding="utf-8"))
    params = from_content(content, str(path), root)
    if params_hash(params) != path.stem:
        raise UserError(f"{path}: was changed after the run began; start it again")
    return params


def hold(preset: str, params: Params) -> None:
    """Keep ``params`` as those of the run that begins now, for the processes that it starts."""
    path = Path("runs") / preset / "params" / f"{params_hash(params)}.json"
    text = params.model_dump_json(indent=1) + "\n"
    if not path.is_file() or path.read_bytes() != text.encode():
        write_text(path, text)
    os.environ[PARAMS_VARIABLE] = str(path)
