"""Which program follows training live, if any: resolved once, when a run begins. Nothing is stale because of it."""

import os
from importlib.util import find_spec
from typing import Any

from contrastbench.errors import UserError

LOG_VARIABLE = "CONTRASTBENCH_LOG"  # tells the jobs of a run
LOGGERS = ("tensorboard", "wandb", "mlflow")  # names of the package, of its extra in pyproject.toml, of our module


def resolve_logger(name: Any, asked: str = "--log ") -> str | None:
    """The logger, None for none; an unknown one, or one not installed, is a UserError that names the option."""
    if name in (None, ""):
        return None
    if name not in LOGGERS:
        raise UserError(f"{asked}{name}: must be {', '.join(LOGGERS[:-1])} or {LOGGERS[-1]}")
    if find_spec(name) is None:
        raise UserError(f"{asked}{name}: is not installed; `pip install 'contrastbench[{name}]'` installs it")
    return name


def hold_logger(name: Any) -> None:
    """Tell the jobs of the run that begins now; ``name`` is what ``--config log=`` says, None where it says nothing."""
    given = os.environ.get(LOG_VARIABLE) if name is None else name
    os.environ[LOG_VARIABLE] = resolve_logger(given, "--config log=") or ""
