"""Files are written whole or not at all (temporary name, flush to disk, rename); a damaged one is told in a line."""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contrastbench.errors import UserError

UNFINISHED = ".unfinished-"  # how temporary folders begin; .gitignore and .dvcignore leave out just these
LOCK, CONTENT = "lock", "content"  # what is in one
YOUNG_S = 60.0  # an age at which a temporary folder's owner may not have come to lock it


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it takes ``path``'s place, on failure it goes.

    The block writes a file (or makes a folder) at the yielded path. Where ``path`` is a link, the link is replaced and
    what it leads to stays. A full disk or an unwritable folder becomes a one-line UserError, where the block writes
    with Python's own files: libraries that open files themselves tell of a full disk in errors of their own. A device
    or a pipe is written to, never replaced.
    """
    path = Path(path)
    with contextlib.ExitStack() as stack:
        try:
            stream = _is_stream(path)
            if not stream:
                path.parent.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(temporary_folder(Path(tempfile.gettempdir()) if stream else path.parent))
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None
        temporary = folder / path.name
        try:
            yield temporary
            if stream:
                with temporary.open("rb") as source, path.open("ab") as sink:
                    shutil.copyfileobj(source, sink)
                return
            _flush(temporary)
            if path.is_dir() and temporary.is_dir():
                _set_aside(path, folder / f"{path.name}.old")  # a folder cannot be replaced
            os.replace(temporary, path)
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder below ``parent``, on the same file system, that git and DVC leave out; it goes at the end.

    So do those that killed processes have left there. A living process holds a lock on its own, which the system
    releases when the process ends, however it ends: names that hold a process's number would mistake the process of
    another machine or container that shares the folder for a dead one. Where the file system has no locks, nothing is
    removed. Raises OSError.
    """
    outer = Path(tempfile.mkdtemp(dir=parent, prefix=UNFINISHED))
    try:
        with open(outer / LOCK, "wb") as lock:
            with contextlib.suppress(OSError):  # no locks on this file system
                fcntl.flock(lock, fcntl.LOCK_EX)
            _sweep(parent, now=outer.stat().st_mtime)
            (outer / CONTENT).mkdir()
            yield outer / CONTENT
    finally:
        shutil.rmtree(outer, ignore_errors=True)


def sweep_below(folder: Path) -> None:
    """Remove what killed processes have left at any depth of ``folder``, where nothing may be written any more."""
    for parent in {left.parent for left in folder.rglob(f"{UNFINISHED}*")}:
        with contextlib.suppress(OSError), temporary_folder(parent):
            pass


def _sweep(folder: Path, now: float) -> None:
    """``now`` (seconds) is the time by the clock of the file system, which need not be this machine's."""
    for left in folder.glob(f"{UNFINISHED}*"):
        with contextlib.suppress(OSError):  # locked by its process, of another user, or gone already
            if now - left.stat().st_mtime > YOUNG_S:
                with open(left / LOCK, "ab") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(left, ignore_errors=True)


def _set_aside(folder: Path, place: Path) -> None:
    try:
        os.replace(folder, place)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.rmtree(folder)  # overlayfs renames no folder that came with a container's image


def _is_stream(path: Path) -> bool:
    """Whether ``path`` is a device or a pipe (/dev/stdout); a disk or a socket is a UserError."""
    if not path.exists() or path.is_dir():
        return False
    if path.is_file():
        return path.is_symlink() and _is_of_the_system(path)
    mode = path.stat().st_mode
    if stat.S_ISCHR(mode) or stat.S_ISFIFO(mode):
        return True
    raise UserError(f"{path}: cannot be written: neither a file nor a stream")


def behind_link(path: Path) -> Path:
    """The file that a link at ``path`` leads to, so that the link stays when the file is replaced; else ``path``.

    For paths that a user names. An output of the pipeline may be a link into DVC's cache, whose files must stay
    as they are: there the link is what has to be replaced.
    """
    leads_to_a_file = path.is_symlink() and (path.is_file() or not path.exists())
    return Path(os.path.realpath(path)) if leads_to_a_file and not _is_of_the_system(path) else path


def _is_of_the_system(path: Path) -> bool:
    """Whether ``path`` is one of the system's names, such as /dev/stdout, which may be a file that is appended to.

    A folder in /dev is not: /dev/shm is a file system like any other.
    """
    path = path.absolute()
    return path.parent == Path("/dev") or any(path.is_relative_to(root) for root in ("/dev/fd", "/proc"))


def _flush(path: Path) -> None:
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file():
            with open(file, "rb") as handle:
                os.fsync(handle.fileno())


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 text file or nothing."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a whole binary file or nothing."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def reading(path: Path, what: str, remedy: str) -> Iterator[None]:
    """Whatever goes wrong while the block reads ``path`` becomes a one-line UserError that ends in ``remedy``.

    Any exception but the system's refusals counts: what a damaged file makes its reader raise differs from library to
    library. Too little memory or too many open files say nothing against the file.
    """
    try:
        yield
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:
        reason = (getattr(error, "strerror", None) or str(error)).partition("\n")[0]
        kind = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
        raise UserError(f"{path}: not a readable {what} ({kind}); {remedy}") from None


def entries_under(folder: Path) -> list[Path]:
    """Everything below ``folder`` at any depth, folders too; nothing where there is no such folder.

    A folder that cannot be listed is a UserError: Path.glob passes over it as if it were empty. Left out is what a
    name with a dot hides, such as a file that :func:`replacing` is at. Links to folders are not followed.
    """

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise UserError(f"{error.filename}: cannot be read: {error.strerror}")

    found = []
    for inside, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(inside, name) for name in (*folders, *names) if not name.startswith(".")]
    return sorted(found)


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    """Hexadecimal digest of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
