"""One file a data set, imported only when it is used; their names are in ``contrastbench.registry``."""

import difflib
from importlib import import_module

from contrastbench.datasets.base import Adapter
from contrastbench.errors import UserError
from contrastbench.registry import DATASETS

__all__ = ["DATASETS", "Adapter", "adapter", "dataset_module"]


def dataset_module(name: str) -> str:
    """Dotted name of the module that holds data set ``name``; an unknown name is a UserError."""
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(DATASETS)}"
        raise UserError(f"unknown data set {name!r}; {hint}")
    return DATASETS[name]


def adapter(name: str) -> Adapter:
    """The adapter of data set ``name``."""
    return import_module(dataset_module(name)).ADAPTER
