"""Where unpacked archives and decoded sound wait until they are written: never in a raw folder, which may be read-only.

As much passes through as the prepared data take, so `prepare` has it wait beside them; elsewhere it is the system's
folder for temporary files (TMPDIR).
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from contrastbench.errors import UserError
from contrastbench.files import temporary_folder

_chosen: ContextVar[Path | None] = ContextVar("chosen", default=None)


@contextmanager
def scratch_in(folder: Path) -> Iterator[None]:
    """Within the block, every :func:`scratch_folder` lies in ``folder``."""
    token = _chosen.set(folder)
    try:
        yield
    finally:
        _chosen.reset(token)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield an empty folder that goes at the end; a UserError where none can be made or the disk is full."""
    parent = _chosen.get() or Path(tempfile.gettempdir())
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(parent) as folder:
            yield folder
    except OSError as error:
        raise UserError(f"{parent}: cannot be written: {error.strerror or error}") from None
