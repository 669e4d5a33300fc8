"""Are the rendered files true to the rows, and do the rows of this run repeat the committed ones?"""

from dataclasses import dataclass, field
from pathlib import Path

from contrastbench.reporting.cells import Cell, Key, cells_of
from contrastbench.reporting.rendered import rendered_files
from contrastbench.reporting.significance import ALPHA, compare_rows, holm
from contrastbench.results.load import ROWS, Loaded, rows_at, rows_in
from contrastbench.results.revisions import ignored

TOLERANCE = (
    "a cell is within tolerance when its difference from the committed one is no larger than half the committed "
    "95 % interval or than three standard deviations over the committed seeds, or is not significant (paired test, "
    "Holm-corrected, 5 %)"
)


def stale_files(loaded: Loaded, root: Path = Path()) -> list[str]:
    """A line for each rendered file that differs from what the rows say, is missing, or has no rows.

    Presets whose rows git ignores (runs that nobody commits) are left out.
    """
    presets = kept_presets(loaded, root)
    wanted = rendered_files(loaded, presets, root)
    lines = []
    for path, text in wanted.items():
        file = root / path
        if not file.is_file():
            lines.append(f"{path}: missing")
        elif file.read_bytes() != text.encode():
            lines.append(f"{path}: stale against {ROWS}")
    present = [
        file.relative_to(root).as_posix()
        for folder in ("results/tables", "results/metrics")
        for file in sorted((root / folder).glob("*/*"))
        if file.is_file()
    ]
    orphans = [path for path in present if path not in wanted and path.split("/")[2] not in loaded.presets()]
    leftovers = [path for path in present if path not in wanted and path.split("/")[2] in presets]
    skipped = ignored(orphans, root)
    return lines + [f"{path}: no rows for it" for path in sorted({*orphans, *leftovers} - skipped)]


def kept_presets(loaded: Loaded, root: Path = Path()) -> list[str]:
    """Presets whose rows git does not ignore; all outside a git repository."""
    first = {preset: next(s.path for s in loaded.stored if s.row.preset == preset) for preset in loaded.presets()}
    skipped = ignored(list(first.values()), root)
    return [preset for preset, path in first.items() if path not in skipped]


@dataclass
class Reproduction:
    """Committed cells, sorted by how well the working tree repeats them.

    identical  every value and verdict is the same
    within     differs within tolerance
    outside    differs more: one line each
    missing    not measured in the working tree
    """

    identical: list[Key] = field(default_factory=list)
    within: list[Key] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    missing: list[Key] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Committed cells."""
        return len(self.identical) + len(self.within) + len(self.outside) + len(self.missing)

    def summary(self) -> str:
        """One line."""
        good = len(self.identical) + len(self.within)
        line = f"reproduced: {good} of {self.total} cells within tolerance, {len(self.identical)} of them identical"
        return line + (f"; {len(self.missing)} not measured here" if self.missing else "")


def reproduction(root: Path = Path()) -> tuple[Reproduction, list[str]]:
    """Compare the working tree's rows with those committed at HEAD; and a line for every unreadable row."""
    committed, here = rows_at("HEAD", ROWS, root), rows_in(root)
    return reproduction_of(committed, here), committed.problems + here.problems


def reproduction_of(committed: Loaded, here: Loaded) -> Reproduction:
    """Sort every committed cell by how well ``here`` repeats it."""
    found = Reproduction()
    now = cells_of(here)
    differing: list[tuple[Cell, Cell]] = []
    for key, old in cells_of(committed).items():
        new = now.get(key)
        if new is None or {row.seed for row in old.rows} - {row.seed for row in new.rows}:
            found.missing.append(key)
        elif _measured(old) == _measured(new):
            found.identical.append(key)
        else:
            differing.append((old, new))
    p_values = [compare_rows(new.rows, old.rows).p_value for old, new in differing]
    adjusted = iter(holm([value for value in p_values if value is not None]))
    for (old, new), p_value in zip(differing, p_values, strict=True):
        insignificant = p_value is not None and next(adjusted) > ALPHA
        same_data = {row.data_hash for row in old.rows} == {row.data_hash for row in new.rows}
        if same_data and (insignificant or abs(new.mean - old.mean) <= tolerance(old)):
            found.within.append(old.key)
        else:
            why = "" if same_data else "; the test data differ"
            key = old.key
            name = f"{key.preset} {key.track} {key.dataset} {key.method} {key.protocol.name} {key.metric}"
            found.outside.append(f"{name}: {new.mean:.4f}, committed {old.mean:.4f}{why}")
    return found


def tolerance(cell: Cell) -> float:
    """How far a repeated mean may lie from the committed one (see ``TOLERANCE``)."""
    halves = [(row.interval[1] - row.interval[0]) / 2 for row in cell.rows if row.interval is not None]
    interval = sum(halves) / len(halves) if halves else 0.0
    return max(interval, 3 * (cell.spread or 0.0))


def _measured(cell: Cell) -> dict[int, tuple]:
    return {row.seed: (row.value, row.correct, row.data_hash) for row in cell.rows}
