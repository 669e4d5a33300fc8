"""What code a pipeline step is made of, hashed by meaning: comments, docstrings and layout do not count.

A step's code is the set of contrastbench modules that ``contrastbench.stages.STAGE`` imports, directly or
indirectly, plus the modules it looks up by name (a method's, a data set's). Parameter classes do not count: their
values are tracked as parameters. Nor do the modules that write rows, except where rows are shown. Read by syntax
tree, nothing is imported. A file of the package that is no Python (a template, a table of numbers) counts, with every
byte, where a module beside or above it names it.
"""

import hashlib
from functools import cache
from pathlib import Path

import contrastbench
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
        digest.update(f"{path.relative_to(ROOT).as_posix()}\n".encode() + path.read_bytes())
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
        waiting += _modules(_source(name).imports)
    return frozenset(found)


def _source(module: str) -> Source:
    """A module's code; of the package's own, whose other half hands out the Python API, the version alone."""
    source = read_source(_file(module))
    if module != contrastbench.__name__:
        return source
    return Source([], next(line for line in source.meaning.splitlines() if line.startswith("__version__")))


@cache
def data_files(module: str) -> tuple[Path, ...]:
    """The files of the package, other than Python's, that ``module`` names."""
    source = _file(module)
    named = [path for path in _package_data() if f"'{path.name}'" in read_source(source).meaning]
    return tuple(path for path in named if path.is_relative_to(source.parent))


@cache
def _package_data() -> tuple[Path, ...]:
    found = (path for path in ROOT.rglob("*") if path.suffix not in (".py", ".pyc") and path.is_file())
    return tuple(sorted(found))


@cache
def _file(module: str) -> Path:
    path = ROOT.parent / Path(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _modules(names: list[str]) -> list[str]:
    """The modules of this package among imported names, and the packages that they lie in."""
    ours = [name for name in names if name.startswith("contrastbench")]
    parents = {".".join(name.split(".")[:depth]) for name in ours for depth in range(1, name.count(".") + 2)}
    return [name for name in parents if _file(name).is_file()]
