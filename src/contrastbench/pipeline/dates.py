"""Files dated in the future, brought back to the present, so that no finished job counts as older than its input.

Snakemake holds the dates of a job's outputs against those of its inputs as soon as the job has ended. Where an input
is dated in the future (a clock that was wrong, a folder from another machine), it takes the outputs for outdated, fails
the job and deletes them: hours of training. No option turns this off. Whether an input has changed since is not left
to dates: the profile has Snakemake compare contents too (``max-checksum-file-size``).
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from contrastbench.errors import UserError

FOLDERS = ("data/prepared", "data/spectrograms", "runs", "results")
STEP_NS = 1000  # between two of the new dates: file systems remember less than nanoseconds


def bring_back_future_dates(root: Path = Path()) -> int:
    """Date files of the graph that lie in the future to the present, in their order; how many there were.

    The Snakefile calls this before Snakemake looks at dates. The present is that of the file system, whose clock need
    not be this machine's. Of a link only its own date counts for a job that has ended; what it leads to, such as a
    file in DVC's cache, is not touched.
    """
    now = _now(root)
    late = sorted((date, path) for folder in FOLDERS for path, date in _dates(root / folder) if date > now)
    places = {date: place for place, date in enumerate(sorted({date for date, _ in late}, reverse=True))}
    for date, path in late:
        present = now - places[date] * STEP_NS
        try:
            os.utime(path, ns=(present, present), follow_symlinks=False)
        except FileNotFoundError:  # a job that runs has just replaced it
            continue
        except OSError as error:
            raise UserError(f"{path}: dated in the future, and its date cannot be set: {error.strerror}") from None
    return len(late)


def _now(root: Path) -> int:
    """The time by the clock of the file system, in nanoseconds."""
    folder = root / ".snakemake"
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from None


def _dates(folder: Path) -> Iterator[tuple[str, int]]:
    """Every file and link below ``folder`` with its date in nanoseconds; links to folders are followed once."""
    seen: set[tuple[int, int]] = set()
    for inside, folders, _ in os.walk(folder, followlinks=True):
        here = os.stat(inside)
        if (here.st_dev, here.st_ino) in seen:
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        with os.scandir(inside) as entries:
            for entry in entries:
                if not entry.is_dir():
                    yield entry.path, entry.stat(follow_symlinks=False).st_mtime_ns
