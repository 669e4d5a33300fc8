"""Snakemake's lock on the project folder, cleared where the run that took it was killed.

Snakemake's own lock files hold names of outputs and no process, so that nobody can tell a killed run's from a living
one's. Here every Snakemake process keeps a lock of the system for as long as it lives, which ends with it.
"""

import contextlib
import fcntl
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import IO

OURS = Path(".snakemake/alive.lock")
SNAKEMAKES = Path(".snakemake/locks")  # what `snakemake --unlock` removes
_held: list[IO[str]] = []  # open until the process ends


def hold_folder(root: Path = Path()) -> None:
    """Say for as long as this process lives that a Snakemake is at work in ``root``; clear a killed one's lock.

    The Snakefile calls this before Snakemake locks the folder. Nothing is cleared while another Snakemake lives there,
    nor after a run of another machine, whose processes a network file system may not show: then one line names
    `snakemake --unlock`. Two living runs of different outputs are Snakemake's own affair.
    """
    path = root / OURS
    try:
        path.parent.mkdir(exist_ok=True)
        handle = open(path, "a+", encoding="utf-8", errors="replace")  # noqa: SIM115
    except OSError:  # Snakemake will say that it cannot write here
        return
    _held.append(handle)
    with contextlib.suppress(OSError):  # another Snakemake lives here, or the file system has no locks
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _clear(root / SNAKEMAKES, handle)
    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_SH)


def _clear(locks: Path, handle: IO[str]) -> None:
    """Remove Snakemake's lock files, while no Snakemake lives; ``handle`` is our file, which names the last machine."""
    handle.seek(0)
    last, here = " ".join(handle.read(1000).split()), socket.gethostname()
    if locks.is_dir() and any(locks.iterdir()):
        if last != here:
            by = f"a run on {last}" if last else "an unknown run"
            return _say(f"{locks}: left by {by}; if it has ended, run `snakemake --unlock`")
        shutil.rmtree(locks)
        _say("cleared the lock of a run that was killed")
    if last != here:
        os.ftruncate(handle.fileno(), 0)
        handle.write(here)
        handle.flush()


def _say(text: str) -> None:
    print(f"contrastbench: {text}", file=sys.stderr)
