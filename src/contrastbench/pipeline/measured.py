"""Receipts: they say which files of rows were measured in this checkout, and did not come with the clone."""

from pathlib import Path

from contrastbench.files import file_hash, write_text
from contrastbench.pipeline.layout import Layout


def write_receipt(layout: Layout, rows: Path) -> None:
    """Say that the file ``rows``, as it is now, was measured here."""
    write_text(layout.receipt(rows), f"{file_hash(rows)}\n")


def measured_here(layout: Layout, rows: Path, root: Path = Path()) -> bool:
    """Whether the file ``rows``, as it is now, was measured here."""
    receipt = root / layout.receipt(rows)
    if not receipt.is_file() or not (root / rows).is_file():
        return False
    return receipt.read_bytes().strip() == file_hash(root / rows).encode()
