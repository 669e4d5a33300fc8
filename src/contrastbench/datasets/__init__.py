"""One file per data set, imported only when it is used; the names are in ``contrastbench.registry``."""

from importlib import import_module

from contrastbench.datasets.base import Adapter
from contrastbench.registry import dataset_module

__all__ = ["Adapter", "adapter"]


def adapter(name: str) -> Adapter:
    """The adapter of the data set ``name``; an unknown name is a UserError."""
    return import_module(dataset_module(name)).ADAPTER
