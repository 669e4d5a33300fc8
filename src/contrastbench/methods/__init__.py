"""One file per method; see ``contrastbench.registry`` for their names."""

from importlib import import_module

from contrastbench import torch_compat  # noqa: F401  (must come before torchvision, timm, lightning)
from contrastbench.methods.base import Batch, Method, Step
from contrastbench.registry import METHODS, method_module

__all__ = ["Batch", "Method", "Step", "method_class"]


def method_class(name: str) -> type[Method]:
    """The class of the method ``name``; each has ``from_params(params, input_shape, number_of_classes)``."""
    module = import_module(method_module(name))
    return getattr(module, METHODS[name].path.partition(":")[2])
