"""Files of a git revision, read from git's objects: nothing is checked out and the work tree is not touched."""

import os
import subprocess
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
    commit = commit_of(revision, root)
    listing = _git(root, "ls-tree", "-r", "-z", commit, "--", folder).decode("utf-8", "surrogateescape")
    blobs = {}
    for entry in listing.split("\0")[:-1]:
        facts, _, path = entry.partition("\t")
        _, kind, name = facts.split()
        if kind == "blob":
            blobs[path] = name
    return _contents(root, blobs)


def commit_of(revision: str, root: Path = Path()) -> str:
    """The full hash of the commit that ``revision`` names."""
    _git(root, "rev-parse", "--git-dir")
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


def ignored(paths: list[str], root: Path = Path()) -> set[str]:
    """Those of ``paths`` that .gitignore excludes; none outside a git repository."""
    if not paths:
        return set()
    answer = _run(root, "check-ignore", "--stdin", "-z", given="\0".join(paths).encode())
    return set(answer.stdout.decode().split("\0")) - {""}


def _contents(root: Path, blobs: dict[str, str]) -> dict[str, bytes]:
    if not blobs:
        return {}
    stream = _git(root, "cat-file", "--batch", given="".join(f"{name}\n" for name in blobs.values()).encode())
    contents, position = {}, 0
    for path, name in blobs.items():
        end = stream.index(b"\n", position)
        header = stream[position:end].split()
        if header[1:] == [b"missing"]:
            raise UserError(f"{path}: git lacks object {name[:10]} (partial clone?); fetch it first")
        size = int(header[2])
        contents[path] = stream[end + 1 : end + 1 + size]
        position = end + 1 + size + 1
    return contents


def _git(root: Path, *arguments: str, given: bytes | None = None) -> bytes:
    answer = _run(root, *arguments, given=given)
    if answer.returncode != 0:
        lines = answer.stderr.decode(errors="replace").strip().splitlines()
        raise UserError(f"git {arguments[0]} failed: {lines[0] if lines else answer.returncode}")
    return answer.stdout


def _run(root: Path, *arguments: str, given: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}  # `git status` refreshes no index
    try:
        return subprocess.run(["git", *arguments], cwd=root, input=given, capture_output=True, env=environment)
    except FileNotFoundError:
        raise UserError("git: not installed; it is needed to read other commits") from None
