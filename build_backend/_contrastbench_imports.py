"""Lets torchvision and torchaudio be imported on a CPU-only torch by programs that have not imported contrastbench.

Registry wheels of both fail there (contrastbench/torch_compat.py). Where one of them does, it is imported once more
with what torch_compat declares; where none does, nothing happens. A .pth file imports this module whenever Python
starts, so that it must cost next to nothing.
"""

import sys


class Finder:
    """Finds the two packages as Python does, with loaders that try again."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        """The specification of torchvision or torchaudio; None for all else."""
        if name not in ("torchvision", "torchaudio"):
            return None
        from importlib.machinery import PathFinder

        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module
            spec.loader.exec_module = lambda module: _execute(execute, module)
        return spec


def _execute(execute, module):
    from contextlib import suppress

    name = module.__name__
    try:
        execute(module)
    except (OSError, RuntimeError):  # libc10_cuda.so is not there; operator torchvision::nms does not exist
        for each in [each for each in sys.modules if each.partition(".")[0] == name]:
            del sys.modules[each]
        with suppress(ImportError):  # an editable install whose folder is gone
            import contrastbench.torch_compat  # noqa: F401
        sys.modules[name] = module
        execute(module)


sys.meta_path.insert(0, Finder)
