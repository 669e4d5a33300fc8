"""contrastbench: a reproducible benchmark suite for label-free representation learning.

Its Python API (docs/python.md) is loaded when one of its names is first used: ``contrastbench.tables()``.
"""

import sys
from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_API = {
    "UserError": "errors",
    "tables": "api.results",
    "rows": "api.results",
    "compare": "api.results",
    "load_encoder": "api.encoders",
    "embed": "api.encoders",
    "evaluate": "api.judging",
}


def __getattr__(name: str) -> Any:
    if name not in _API:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=sys.modules[__name__])
    return getattr(import_module(f"{__name__}.{_API[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_API})
