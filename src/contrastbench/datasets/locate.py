"""Where the user's own data lie, and whether they are still those that were prepared."""

import hashlib
import os
from pathlib import Path

from contrastbench.files import write_text
from contrastbench.params.declared import DeclaredDataset


def located(declared: DeclaredDataset, root: Path) -> Path:
    """The file or folder of a declared data set; a relative path is from the project folder ``root``."""
    return root / Path(declared.path).expanduser()


def contents_state(declared: DeclaredDataset, root: Path, prepared: Path) -> str:
    """Twelve digits over the names, sizes and dates of the files there; none of them is opened.

    Where there is nothing (any more), that which :func:`keep_state` wrote beside the folder ``prepared``.
    """
    path = located(declared, root)
    if not path.exists():
        kept = _kept(root / prepared)
        return kept.read_text(encoding="utf-8") if kept.is_file() else "missing"
    digest = hashlib.sha256()
    for inside, folders, names in os.walk(path) if path.is_dir() else [(str(path.parent), [], [path.name])]:
        folders.sort()
        for name in sorted(names):
            file = Path(inside, name)
            about = file.stat() if file.exists() else None
            size, date = (about.st_size, about.st_mtime_ns) if about else (0, 0)
            digest.update(f"{file.relative_to(path.parent)}\0{size}\0{date}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:12]


def keep_state(declared: DeclaredDataset, root: Path, prepared: Path) -> None:
    """Remember of which files the data in ``prepared`` were made, so that these may be removed."""
    write_text(_kept(root / prepared), contents_state(declared, root, prepared))


def _kept(prepared: Path) -> Path:
    return prepared.with_name(f"{prepared.name}.made-of.txt")
