"""One class per modality; see ``contrastbench.registry`` for their names."""

from functools import cache
from importlib import import_module

from contrastbench.datasets.store import Prepared
from contrastbench.modalities.base import Modality, Stored
from contrastbench.registry import MODALITIES, modality_module

__all__ = ["Modality", "Stored", "modality", "modality_of"]


@cache
def modality(name: str) -> Modality:
    """The modality called ``name``, as parameters and ``meta.json`` name it; an unknown one is a UserError."""
    module = import_module(modality_module(name))
    return getattr(module, MODALITIES[name].partition(":")[2])()


def modality_of(data: Prepared) -> Modality:
    """The modality of a prepared data set."""
    return modality(data.meta.modality)
