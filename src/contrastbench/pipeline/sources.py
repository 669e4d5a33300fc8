"""What a source file imports and means, remembered between processes.

Every job of a run asks for the fingerprint of its code; to parse a hundred files takes longer than many a job's work.
"""

import ast
import atexit
import contextlib
import json
import sys
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from contrastbench.errors import UserError
from contrastbench.files import write_text

# In the project folder, beside the runs; a lost or outdated entry is read anew.
MEMORY = Path("runs/sources.json")
_news: dict[str, dict] = {}


@dataclass(frozen=True)
class Source:
    """One file.

    stamp    changes with the file's content, and with the Python that prints its meaning
    imports  every name that it imports, with ``from``'s module and name joined
    meaning  its code without comments, docstrings and layout
    """

    stamp: str
    imports: tuple[str, ...]
    meaning: str


@cache
def read_source(path: Path) -> Source:
    """Read a Python file, or recall it where neither its time nor its size has changed."""
    stat = path.stat()
    stamp = f"{sys.implementation.cache_tag} {stat.st_mtime_ns} {stat.st_size}"
    known = _memory().get(str(path))
    if known and known["stamp"] == stamp:
        return Source(stamp, tuple(known["imports"]), known["meaning"])
    source = Source(stamp, *_parse(path.read_text(encoding="utf-8")))
    if not _news:
        atexit.register(_remember)
    _news[str(path)] = asdict(source)
    return source


def _parse(text: str) -> tuple[tuple[str, ...], str]:
    tree = ast.parse(text)
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.append(node.module)
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:] or [ast.Pass()]
    return tuple(sorted(set(names))), ast.unparse(tree)


@cache
def _memory() -> dict[str, dict]:
    try:
        known = json.loads(MEMORY.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _remember() -> None:
    if not MEMORY.parent.is_dir():  # not a project that runs anything: leave nothing behind
        return
    with contextlib.suppress(UserError):  # a folder that cannot be written costs only the time of reading again
        write_text(MEMORY, json.dumps(_memory() | _news))
