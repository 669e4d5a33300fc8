"""Leave torch's compiler unloaded until something is compiled.

Importing ``torch._dynamo`` takes longer than importing torch itself, and two things do it in every process:
torchvision, for one function of ``torchvision.ops``, and the first step of any optimiser, which asks the compiler not
to look. As long as nothing is being compiled, neither has anything to do. :func:`defer` answers them with a stand-in,
which gives way to the compiler itself as soon as anything else of it is used (tests/test_deferred_compiler.py).
"""

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch

COMPILER = "torch._dynamo"
UTILITIES = "torch._dynamo.utils"


def defer() -> None:
    """Put the stand-in into place, unless the compiler is loaded already. Once per process."""
    if COMPILER in sys.modules:
        return
    package = find_spec(COMPILER)
    if package is None:
        return
    compiler, utilities = _StandIn(COMPILER), _StandIn(UTILITIES)
    compiler.__path__ = package.submodule_search_locations  # type: ignore[assignment]
    compiler.disable, compiler.graph_break = _undecorated, _nothing  # type: ignore[attr-defined]
    utilities.is_compile_supported = _is_compile_supported  # type: ignore[attr-defined]
    compiler.utils = utilities  # type: ignore[attr-defined]
    sys.modules |= {COMPILER: compiler, UTILITIES: utilities}
    torch._dynamo = compiler
    sys.meta_path.insert(0, _Submodules())


def load() -> ModuleType:
    """The compiler itself, in the place of its stand-in."""
    if isinstance(sys.modules.get(COMPILER), _StandIn):
        sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Submodules)]
        del sys.modules[COMPILER], sys.modules[UTILITIES]
        torch._dynamo = import_module(COMPILER)
    return sys.modules[COMPILER]


class _StandIn(ModuleType):
    """Whatever it lacks is looked up in the module that it stands for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what the import system asks of every module
            raise AttributeError(name)
        load()
        return getattr(sys.modules[self.__name__], name)


class _Submodules(MetaPathFinder, Loader):
    """Loads the compiler when one of its modules is imported."""

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        if not name.startswith(f"{COMPILER}."):
            return None
        load()
        return ModuleSpec(name, self) if name in sys.modules else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: the module was executed when the compiler was loaded."""


def _undecorated(function: Callable | None = None, *_: Any, **__: Any) -> Any:
    """``torch._dynamo.disable``: nothing has to be hidden from a compiler that is not there."""
    return (lambda decorated: decorated) if function is None else function


def _nothing(*_: Any, **__: Any) -> None:
    """``torch._dynamo.graph_break``."""


def _is_compile_supported(device: str) -> bool:
    return load().utils.is_compile_supported(device)
