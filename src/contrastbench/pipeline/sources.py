"""What a source file imports and means, remembered between processes.

Every job of a run asks for the fingerprint of its code; parsing a hundred files takes longer than many jobs themselves.
What is remembered depends on a file's content, on this file's (which says what counts as meaning) and on the Python
that prints it, so that it cannot be outdated.
"""

import ast
import atexit
import contextlib
import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from contrastbench.errors import UserError
from contrastbench.files import write_text

MEMORY = Path("runs/sources.json")  # in the project folder, beside the runs
MOST_ENTRIES = 1000  # several versions of every file; a fuller memory starts anew
_news: dict[str, dict] = {}


@dataclass(frozen=True)
class Source:
    """One file.

    imports  every name that it imports, with ``from``'s module and name joined; relative ones begin with their dots
    meaning  its code without comments, docstrings and layout
    """

    imports: list[str]
    meaning: str


@cache
def read_source(path: Path) -> Source:
    """Read a Python file; its content is parsed once and then recalled."""
    content = path.read_bytes()
    key = hashlib.sha256(_salt() + content).hexdigest()
    with contextlib.suppress(KeyError, TypeError):  # not known, or a damaged entry
        source = Source(**_memory()[key])
        if isinstance(source.meaning, str) and all(isinstance(name, str) for name in source.imports):
            return source
    return _parse(key, content)


def _parse(key: str, content: bytes) -> Source:
    tree = ast.parse(content)
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names |= {module, *(f"{module}{'.' if node.module else ''}{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:] or [ast.Pass()]
    source = Source(sorted(names), ast.unparse(tree))
    if not _news:
        atexit.register(_remember)
    _news[key] = asdict(source)
    return source


@cache
def _salt() -> bytes:
    return sys.version.encode() + Path(__file__).read_bytes()


@cache
def _memory() -> dict[str, dict]:
    try:
        known = json.loads(MEMORY.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) and len(known) < MOST_ENTRIES else {}


def _remember() -> None:
    if not MEMORY.parent.is_dir():  # not a project that runs anything: leave nothing behind
        return
    with contextlib.suppress(UserError):  # a folder that cannot be written costs only the time of reading again
        write_text(MEMORY, json.dumps(_memory() | _news))
