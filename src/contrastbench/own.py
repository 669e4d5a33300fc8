"""The user's own modules: ``contrastbench.own.methods.mine`` is ``methods/mine.py`` of the project folder.

Any process that runs in the project folder imports them like other modules; one that fails is a UserError of one line.
"""

import importlib
import sys
import traceback
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from contrastbench.errors import UserError

__path__ = [str(Path.cwd())]  # what makes a package of this module
watched: set[str] = set()  # modules of installed packages that fail in one line too


def use_folder(root: Path) -> None:
    """Look for own modules in ``root`` from now on."""
    folder = str(root.resolve())
    if __path__ == [folder]:
        return
    __path__[:] = [folder]
    importlib.invalidate_caches()
    for name in [name for name in sys.modules if name.startswith(f"{__name__}.")]:
        del sys.modules[name]


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        try:
            super().exec_module(module)
        except UserError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise UserError(f"{_place(error, self.path)}: cannot be imported: {reason}") from error
        declared = getattr(module, "METHOD", None)
        made = getattr(module, declared["class"], None) if isinstance(declared, dict) and "class" in declared else None
        if made is not None and not hasattr(made, "from_params"):
            raise UserError(f"{self.path}: class {made.__name__} is no contrastbench.methods.base.Method; derive it")


def _place(error: Exception, path: str) -> str:
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
