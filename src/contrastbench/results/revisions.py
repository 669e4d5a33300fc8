"""Files of a git revision, read from git's objects: nothing is checked out and the work tree is not touched."""

import io
import os
import subprocess
import tarfile
from pathlib import Path

from contrastbench.errors import UserError
from contrastbench.files import entries_under

WORKTREE = "WORKTREE"


def files_at(revision: str, folder: str, root: Path = Path()) -> dict[str, bytes]:
    """Content of every file under ``folder`` (or of the file ``folder``) by path relative to ``root``.

    ``revision`` is anything that names a commit, or ``WORKTREE`` for the files as they are on disk. An absent
    folder gives an empty dict; an unknown revision is a UserError.
    """
    if revision == WORKTREE:
        start = root / folder
        paths = [start] if start.is_file() else [path for path in entries_under(start) if path.is_file()]
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}
    name = _git(root, "rev-parse", "--verify", "--quiet", f"{commit_of(revision, root)}:./{folder}", absent=True)
    if not name:
        return {}
    name = name.strip()
    if _git(root, "cat-file", "-t", name).strip() == b"blob":
        return {folder: _git(root, "cat-file", "blob", name)}
    # Of the folder's tree, not of the commit: so .gitattributes above it cannot leave files out (export-ignore).
    archive = _git(_git_dir(root), "archive", name)
    with tarfile.open(fileobj=io.BytesIO(archive), encoding="utf-8", errors="surrogateescape") as files:
        members = [(each.name, files.extractfile(each)) for each in files if each.isfile()]
        return {f"{folder}/{path}": content.read() for path, content in members if content is not None}


def _git_dir(root: Path) -> Path:
    return Path(os.fsdecode(_git(root, "rev-parse", "--absolute-git-dir").removesuffix(b"\n")))


def commit_of(revision: str, root: Path = Path()) -> str:
    """The full hash of the commit that ``revision`` names."""
    _git_dir(root)
    answer = _run(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if answer.returncode != 0:
        shallow = _git(root, "rev-parse", "--is-shallow-repository").strip() == b"true"
        hint = "; this clone is shallow: `git fetch --unshallow` brings older commits" if shallow else ""
        raise UserError(f"unknown revision {revision!r}{hint}")
    return answer.stdout.decode().strip()


def describe(revision: str, root: Path = Path()) -> str:
    """``REVISION (abbreviated hash)``, or ``WORKTREE``."""
    return revision if revision == WORKTREE else f"{revision} ({commit_of(revision, root)[:10]})"


def head_state(root: Path = Path()) -> tuple[str, bool] | None:
    """HEAD's hash and whether tracked files differ from it; None outside a git repository."""
    answer = _run(root, "rev-parse", "--verify", "--quiet", "HEAD")
    if answer.returncode != 0:
        return None
    changed = _run(root, "status", "--porcelain", "--untracked-files=no")
    return answer.stdout.decode().strip(), bool(changed.stdout.strip())


def last_change(folder: str, root: Path = Path()) -> tuple[str | None, list[str]]:
    """The day of the newest commit that changed ``folder``, and its files that are in no commit as they are here.

    Outside a git repository, None and all files.
    """
    everything = [path.relative_to(root).as_posix() for path in entries_under(root / folder) if path.is_file()]
    try:
        answer = _run(root, "log", "-1", "--format=%cs", "--", folder)
        others = _run(root, "ls-files", "-z", "--modified", "--others", "--", folder)
    except UserError:  # no git at all
        return None, everything
    if others.returncode != 0:
        return None, everything
    return answer.stdout.decode().strip() or None, [os.fsdecode(path) for path in others.stdout.split(b"\0") if path]


def ignored(paths: list[str], root: Path = Path()) -> set[str]:
    """Those of ``paths`` that .gitignore excludes; none outside a git repository."""
    if not paths:
        return set()
    answer = _run(root, "check-ignore", "--stdin", "-z", given="\0".join(paths).encode())
    return set(answer.stdout.decode().split("\0")) - {""}


def _git(root: Path, *arguments: str | bytes, absent: bool = False) -> bytes:
    """What git prints; a failure is a UserError, but with ``absent`` what git does not find is nothing."""
    answer = _run(root, *arguments)
    if answer.returncode == 1 and absent:
        return b""
    if answer.returncode != 0:
        lines = answer.stderr.decode(errors="replace").strip().splitlines()
        line = next((line for line in reversed(lines) if line.startswith("fatal: ")), f"exit code {answer.returncode}")
        hint = "; this clone is partial, and where it came from cannot be read" if "promisor remote" in line else ""
        raise UserError(f"git {arguments[0]!s} failed: {line.removeprefix('fatal: ')}{hint}")
    return answer.stdout


def _run(root: Path, *arguments: str | bytes, given: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}  # `git status` refreshes no index
    try:
        return subprocess.run(["git", *arguments], cwd=root, input=given, capture_output=True, env=environment)
    except FileNotFoundError:
        raise UserError("git: not installed; it is needed to read other commits") from None
