"""The user's own modules: ``contrastbench.own.methods.mine`` is ``methods/mine.py`` of the project folder.

Any process that runs in the project folder imports them like other modules; one that fails is a UserError of one line.
What their code raises later is told by :func:`failed_at`.
"""

import importlib
import os
import sys
import textwrap
import traceback
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from contrastbench.errors import UserError
from contrastbench.own_method import check_method

__path__ = [str(Path.cwd())]  # what makes a package of this module
watched: set[str] = set()  # modules of installed packages that fail in one line too
LONGEST = 300  # characters of an exception's message in one line; its traceback has the rest


def use_folder(root: Path) -> None:
    """Look for own modules in ``root`` from now on."""
    folder = str(root.resolve())
    if __path__ == [folder]:
        return
    __path__[:] = [folder]
    importlib.invalidate_caches()
    for name in [name for name in sys.modules if name.startswith(f"{__name__}.")]:
        del sys.modules[name]


def failed_at(error: BaseException) -> str | None:
    """``FILE:LINE`` of the last line of the user's own code that led to ``error``; None where none did."""
    packages = {name.partition(".")[0] for name in watched}
    for frame, line in reversed([*traceback.walk_tb(error.__traceback__)]):
        module = frame.f_globals.get("__name__", "")
        if module.startswith(f"{__name__}.") or module.partition(".")[0] in packages:
            path = os.path.relpath(frame.f_code.co_filename, __path__[0])
            shown = frame.f_code.co_filename if path.startswith(os.pardir) else path
            return f"{shown}:{line}"
    return None


def said(error: BaseException) -> str:
    """``KIND: MESSAGE``, which may be cut short."""
    return textwrap.shorten(f"{type(error).__name__}: {error}".removesuffix(": "), LONGEST)


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        try:
            super().exec_module(module)
        except UserError:
            raise
        except (Exception, SystemExit) as error:
            raise UserError(f"{_place(error, self.path)}: cannot be imported: {said(error)}") from error
        declared = getattr(module, "METHOD", None)
        made = getattr(module, declared["class"], None) if isinstance(declared, dict) and "class" in declared else None
        if made is not None:
            check_method(made, self.path)


def _place(error: BaseException, path: str) -> str:
    """The file at ``path``, and the last of its lines that led to the ``error``."""
    steps = traceback.extract_tb(error.__traceback__)
    lines = [step.lineno for step in steps if step.filename == path]
    if isinstance(error, SyntaxError):
        lines = [error.lineno]
    return f"{path}:{lines[-1]}" if lines else path


class _Finder(PathFinder):
    @classmethod
    def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname not in watched and not fullname.startswith(f"{__name__}."):
            return None
        spec = super().find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(fullname, spec.loader.path)
        return spec


sys.meta_path.insert(0, _Finder)
