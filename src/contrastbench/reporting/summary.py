"""What a report opens with: what ran, and when its newest rows were measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from contrastbench.reporting.cells import REGISTERED, dataset_order
from contrastbench.results.load import ROWS
from contrastbench.results.revisions import last_change
from contrastbench.results.rows import Row


@dataclass(frozen=True)
class Ran:
    """What the rows of one track are of: data sets, registered methods, how many variants of them, seeds, rows."""

    datasets: list[str]
    methods: list[str]
    variants: int
    seeds: int
    rows: int


def ran(rows: Sequence[Row]) -> Ran:
    """Of the rows of one track."""
    methods = {row.method for row in rows if row.method == row.base}
    return Ran(
        sorted({row.dataset for row in rows}, key=dataset_order),
        sorted(methods, key=lambda name: (REGISTERED.index(name) if name in REGISTERED else len(REGISTERED), name)),
        len({row.method for row in rows} - methods),
        len({row.seed for row in rows}),
        len(rows),
    )


def measured_on(preset: str, root: Path) -> str:
    """The day, as 2026-11-27, on which the newest rows of a preset were committed; of others, that of their files.

    It is the same whenever the page is made.
    """
    folder = f"{ROWS}/{preset}"
    committed, others = last_change(folder, root)
    dates = [(root / path).stat().st_mtime for path in others if (root / path).is_file()]
    written = [datetime.fromtimestamp(max(dates), UTC).date().isoformat()] if dates else []
    return max([*written, *([committed] if committed else [])], default="")
