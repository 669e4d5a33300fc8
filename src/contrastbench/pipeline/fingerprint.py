"""What code a pipeline step is made of, hashed by meaning: comments, docstrings and layout do not count.

A step's code is the set of contrastbench modules that ``contrastbench.stages.STAGE`` imports, directly or
indirectly, plus the modules it looks up by name (a method's, a data set's). Parameter classes do not count:
their values are tracked as parameters. Read by syntax tree, nothing is imported.
"""

import hashlib
from functools import cache
from pathlib import Path

import contrastbench
from contrastbench.pipeline.sources import read_source

ROOT = Path(contrastbench.__file__).parent
# What these modules decide is visible in a step's resolved parameters, in its files' names, or nowhere.
NOT_COUNTED = tuple(f"contrastbench.{name}" for name in ("params", "errors", "cli", "registry", "pipeline"))


@cache
def fingerprint(stage: str, *looked_up: str) -> str:
    """Twelve hexadecimal digits over the code of ``stage`` and of the ``looked_up`` modules."""
    modules = set(closure(f"contrastbench.stages.{stage}"))
    for name in looked_up:
        modules |= closure(name)
    digest = hashlib.sha256()
    for name in sorted(modules):
        digest.update(f"{name}\n{read_source(_file(name)).meaning}\n".encode())
    return digest.hexdigest()[:12]


@cache
def closure(module: str) -> frozenset[str]:
    """``module`` and every contrastbench module that it imports, directly or indirectly."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or name.startswith(NOT_COUNTED):
            continue
        found.add(name)
        waiting += _modules(read_source(_file(name)).imports)
    return frozenset(found)


@cache
def _file(module: str) -> Path:
    path = ROOT.parent / Path(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _modules(names: list[str]) -> list[str]:
    """The modules of this package among imported names, and the packages that they lie in."""
    ours = [name for name in names if name.startswith("contrastbench")]
    parents = {".".join(name.split(".")[:depth]) for name in ours for depth in range(1, name.count(".") + 2)}
    return [name for name in parents if _file(name).is_file()]
