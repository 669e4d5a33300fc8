"""What code a pipeline step is made of, hashed by meaning: comments, docstrings and layout do not count.

A step's code is the set of contrastbench modules that ``contrastbench.stages.STAGE`` imports, directly or
indirectly, plus the modules it looks up by name (a method's, a data set's). Parameter classes do not count: their
values are tracked as parameters. Nor do the modules that write rows, except where rows are shown. Read by syntax
tree, nothing is imported. A file of the package that is no Python (a template, a table of numbers) counts, with every
byte, where a module beside or above it names it.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec, resolve_name
from pathlib import Path

import contrastbench
from contrastbench import own
from contrastbench.pipeline.sources import Source, read_source

ROOT = Path(contrastbench.__file__).parent
# What these modules decide is visible in a step's resolved parameters, in its files' names, in its rows, or nowhere.
NOT_COUNTED = ("params", "errors", "cli", "registry", "pipeline", "results")
# The stages that show rows also depend on which rows count, in what order they stand and what they are called.
SHOWING = {"tables": "contrastbench.pipeline.asked", "report": "contrastbench.pipeline.asked"}
NOT_COUNTED_WHERE_SHOWN = ("params", "errors", "cli")


@cache
def fingerprint(stage: str, *looked_up: str) -> str:
    """Twelve hexadecimal digits over the code of ``stage`` and of the ``looked_up`` modules."""
    left_out = NOT_COUNTED_WHERE_SHOWN if stage in SHOWING else NOT_COUNTED
    also = [SHOWING[stage]] if stage in SHOWING else []
    modules = {
        name for start in (f"contrastbench.stages.{stage}", *also, *looked_up) for name in closure(start, left_out)
    }
    digest = hashlib.sha256()
    for name in sorted(modules):
        digest.update(f"{name}\n{_source(name).meaning}\n".encode())
    for path in sorted({path for name in modules for path in data_files(name)}):
        name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
        digest.update(f"{name}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


@cache
def closure(module: str, left_out: tuple[str, ...] = NOT_COUNTED) -> frozenset[str]:
    """``module`` and every contrastbench module that it imports, directly or indirectly, without parts left out."""
    without = {f"contrastbench.{name}" for name in left_out}
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or ".".join(name.split(".")[:2]) in without:
            continue
        found.add(name)
        waiting += _modules(name, _source(name).imports)
    return frozenset(found)


def _source(module: str) -> Source:
    """A module's code; of the package's own, whose other half hands out the Python API, the version alone."""
    source = read_source(_file(module))
    if module != contrastbench.__name__:
        return source
    return Source([], next(line for line in source.meaning.splitlines() if line.startswith("__version__")))


@cache
def data_files(module: str) -> tuple[Path, ...]:
    """The files of the package, other than Python's, that ``module`` names; of a plugin those beside it or below."""
    source = _file(module)
    meaning = read_source(source).meaning
    if not source.is_relative_to(ROOT):
        return _no_python(_named_below(source.parent, meaning))
    named = [path for path in _package_data() if f"'{path.name}'" in meaning]
    return tuple(path for path in named if path.is_relative_to(source.parent))


def _named_below(folder: Path, meaning: str) -> Iterator[Path]:
    """The files of ``folder``, and of folders in it, that a text of the code names, alone or as part of a path."""
    for path in folder.iterdir():
        if re.search(rf"['/]{re.escape(path.name)}['/]", meaning):
            yield from _named_below(path, meaning) if path.is_dir() else [path]


@cache
def _package_data() -> tuple[Path, ...]:
    return _no_python(ROOT.rglob("*"))


def _no_python(paths: Iterable[Path]) -> tuple[Path, ...]:
    return tuple(sorted(path for path in paths if path.suffix not in (".py", ".pyc") and path.is_file()))


@cache
def _file(module: str) -> Path:
    top, *parts = module.split(".")
    if module.startswith(f"{own.__name__}."):
        path = Path(own.__path__[0], *parts[1:])
    elif top == ROOT.name:
        path = ROOT.joinpath(*parts)
    else:  # an installed package that has plugins
        spec = find_spec(top)
        folders = spec.submodule_search_locations if spec else None
        path = Path(folders[0], *parts) if folders else Path(spec.origin if spec and spec.origin else top)
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _modules(module: str, names: list[str]) -> list[str]:
    """Of the names that ``module`` imports, modules of this package and of its own; and the packages they lie in."""
    package = module if _file(module).name == "__init__.py" else module.rpartition(".")[0]
    absolute = [resolve_name(name, package) if name.startswith(".") else name for name in names]
    ours = [name for name in absolute if name.partition(".")[0] in (ROOT.name, module.partition(".")[0])]
    parents = {".".join(name.split(".")[:depth]) for name in ours for depth in range(1, name.count(".") + 2)}
    return [name for name in parents if _file(name).is_file()]
