"""The project folder that a call reads: every path of the suite is relative to the working directory."""

from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from threading import RLock

from contrastbench.errors import UserError

Project = str | Path | None
_WORKING = RLock()  # a process has one working directory, and knows the data sets of one project at a time


@contextmanager
def inside(project: Project) -> Iterator[None]:
    """Work in the folder ``project`` meanwhile; None: in the one that Python works in anyway.

    Other threads wait until it is left.
    """
    with _WORKING:
        folder = Path(project or ".")
        if not (folder / "params.yaml").is_file():
            raise UserError(
                f"{folder.absolute()}: no project folder, for it has no params.yaml; name one: project=FOLDER"
            )
        with chdir(folder):
            yield
