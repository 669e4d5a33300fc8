"""What lies in a folder: the files that are asked for, and all else by name and reason, so that nothing goes unseen."""

from collections.abc import Set
from pathlib import Path
from typing import NamedTuple

from contrastbench.errors import UserError


class Found(NamedTuple):
    """Files of one kind that lie in a folder.

    paths   the files, in alphabetical order
    others  "PATH: reason" for each of the folder's other entries but hidden ones, in alphabetical order: suffixes that
            are not known, links that lead nowhere, folders. Whoever reads ``paths`` tells of these (``Split.skipped``
            brings them to meta.json, and their number to the user)
    """

    paths: list[Path]
    others: list[str]


def find_files(folder: Path, suffixes: Set[str], kind: str) -> Found:
    """The files in ``folder`` itself whose suffix, in any case, is of ``suffixes`` (".png"); ``kind`` ("a picture").

    A folder that is missing or cannot be listed is a UserError.
    """
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror}") from None
    reasons = {path: _reason(path, suffixes, kind) for path in entries}
    paths = [path for path in entries if not reasons[path]]
    return Found(paths, [f"{path}: {reason}" for path, reason in reasons.items() if reason])


def _reason(path: Path, suffixes: Set[str], kind: str) -> str:
    """Why ``path`` is left out; empty where it is not."""
    if path.is_dir():
        if path.is_symlink():
            return "a link to a folder, which is not followed"
        return "a folder; files are looked for beside it, not in it"
    if not path.exists():
        return "a link that leads nowhere"
    if not path.is_file():
        return "no file"
    return "" if path.suffix.lower() in suffixes else f"its suffix {path.suffix!r} is not that of {kind}"
