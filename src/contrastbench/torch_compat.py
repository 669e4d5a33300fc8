"""Make registry wheels of torchvision and torchaudio usable on a CPU-only torch.

Both wheels are built for CUDA. On a CPU build of torch their compiled parts do not load, and importing
them fails (``operator torchvision::nms does not exist``; ``libc10_cuda.so: cannot open shared object
file``). Nothing here needs the compiled parts, so this module declares what the Python parts ask for.
It does nothing where the compiled parts load, and runs once per process.

Every package of contrastbench that imports torchvision, torchaudio, timm or lightning imports this
module first, in its ``__init__`` (``tests/test_layers.py`` checks that). It also defers torch's compiler, which
nothing here uses and torchvision would load.
"""

import ctypes
import importlib.machinery
import importlib.util
import sys
import types
from pathlib import Path

import torch

from contrastbench import deferred_compiler

# Kept alive for the whole process: a torch.library.Library undoes its declarations when collected.
_declarations: list[torch.library.Library] = []


def _package_folder(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)  # finds a top-level package without importing it
    return Path(spec.origin).parent if spec and spec.origin else None


def _loads(library: Path) -> bool:
    try:
        ctypes.CDLL(str(library))
    except OSError:
        return False
    return True


def _declare_torchvision_operators() -> None:
    folder = _package_folder("torchvision")
    if folder is None or any(_loads(path) for path in folder.glob("_C*.so")):
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declarations.append(library)


def _declare_torchaudio_without_extension() -> None:
    folder = _package_folder("torchaudio")
    if folder is None or all(_loads(path) for path in (folder / "lib").glob("*torchaudio*.so")):
        return

    def unavailable(function):
        return function

    module = types.ModuleType("torchaudio._extension")
    module.__spec__ = importlib.machinery.ModuleSpec("torchaudio._extension", None)
    vars(module).update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_RIR_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        lazy_import_sox_ext=lambda: None,
        fail_if_no_align=unavailable,
        fail_if_no_rir=unavailable,
    )
    sys.modules["torchaudio._extension"] = module


if "torchvision" not in sys.modules:
    _declare_torchvision_operators()
if "torchaudio" not in sys.modules:
    _declare_torchaudio_without_extension()
deferred_compiler.defer()
