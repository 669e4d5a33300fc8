"""Reads result rows. What cannot be read becomes one line, and the rest is still shown."""

import base64
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from contrastbench.errors import UserError
from contrastbench.files import entries_under
from contrastbench.results.metrics import METRICS
from contrastbench.results.revisions import WORKTREE, files_at
from contrastbench.results.rows import Row, parse_row, row_path, unpack_correct

ROWS = "results/rows"
ROUNDING = 1e-9  # how far numbers may lie apart that are equal before they are rounded


@dataclass(frozen=True)
class Stored:
    """A row, the stage that wrote it, and where it lies."""

    row: Row
    stage: str
    path: str


@dataclass
class Loaded:
    """The rows that could be read, in the order of their paths.

    problems  one line for each row that could not be read
    left_out  one line for the readable rows of a preset that its parameters do not ask for
    """

    rows: list[Stored] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def only(self, preset: str) -> "Loaded":
        """The rows of one preset, with all lines."""
        return replace(self, rows=[stored for stored in self.rows if stored.row.preset == preset])

    def asked_for(self, preset: str, wanted: set[str]) -> "Loaded":
        """Without the rows of ``preset`` that lie elsewhere than at the paths ``wanted``; one line tells of them.

        A seed, method or data set that the parameters name no more leaves rows of older parameters behind.
        """
        left = [stored for stored in self.rows if stored.row.preset == preset and stored.path not in wanted]
        if not left:
            return self
        paths = {stored.path for stored in left}
        rows = [stored for stored in self.rows if stored.path not in paths]
        line = (
            f"{left[0].path}{f' and {len(left) - 1} more' if len(left) > 1 else ''}: left out, as the parameters of "
            f"preset {preset} do not ask for it (any more); delete it, or name its method, data set and seed there"
        )
        return replace(self, rows=rows, left_out=[*self.left_out, line])

    def presets(self) -> list[str]:
        """Presets that have rows, the default first."""
        return sorted({stored.row.preset for stored in self.rows}, key=lambda name: (name != "default", name))


def rows_in(root: Path = Path()) -> Loaded:
    """All rows of the project folder ``root``."""
    return rows_at(WORKTREE, ROWS, root)


def rows_at(revision: str, folder: str, root: Path = Path()) -> Loaded:
    """The rows under ``folder`` at a git revision, or in the WORKTREE."""
    if revision != WORKTREE:
        return parse_all(files_at(revision, folder, root))
    entries = {path.relative_to(root).as_posix(): path for path in entries_under(root / folder)}
    rows = {name: path for name, path in entries.items() if name.endswith(".json")}
    loaded = parse_all({name: path.read_bytes() for name, path in rows.items() if path.is_file()})
    loaded.problems += [f"{name}: not a result row: not a file" for name, path in rows.items() if not path.is_file()]
    return loaded


def parse_all(files: Mapping[str, bytes]) -> Loaded:
    """Read rows from the bytes of their files, by path (``results/rows/PRESET/STAGE/.../SEED.json``)."""
    loaded = Loaded()
    owner: dict[tuple, str] = {}
    for path in sorted(files):
        if not path.endswith(".json"):
            continue
        try:
            stored = _parse(path, files[path])
            first = owner.setdefault(_identity(stored.row), path)
            if first != path:
                raise UserError(f"{path}: measures the same as {first}; left out")
            loaded.rows.append(stored)
        except UserError as problem:
            loaded.problems.append(" ".join(str(problem).split()))
    return loaded


def _parse(path: str, content: bytes) -> Stored:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a result row: not UTF-8 text") from None
    row = parse_row(text, path)
    parts = PurePosixPath(path).parts
    stage = parts[3] if len(parts) > 3 else ""
    if row_path(Path(ROWS), stage, row).as_posix() != path:
        raise UserError(f"{path}: not a result row of this place: it says {_name(row)}")
    if row.metric not in METRICS:
        raise UserError(f"{path}: unknown metric {row.metric!r}; known: {', '.join(METRICS)}")
    if not math.isfinite(row.value) or row.n < 1:
        raise UserError(f"{path}: value {row.value} over {row.n} examples is no measurement")
    if METRICS[row.metric].percent and not 0 <= row.value <= 1:
        raise UserError(f"{path}: value {row.value:g}: a share must lie between 0 and 1")
    low, high = row.interval or (row.value, row.value)
    if not low - ROUNDING <= row.value <= high + ROUNDING:
        raise UserError(f"{path}: interval {low:g} to {high:g} does not hold the value {row.value:g}")
    if row.correct is not None:
        _check_verdicts(path, row)
    return Stored(row, stage, path)


def _check_verdicts(path: str, row: Row) -> None:
    try:
        length = len(base64.b64decode(row.correct or "", validate=True))
    except ValueError:
        length = -1
    if length != (row.n + 7) // 8:
        raise UserError(f"{path}: correct: not one bit for each of {row.n} examples")
    share = float(unpack_correct(row.correct or "", row.n).mean())
    if not math.isclose(share, row.value, abs_tol=ROUNDING):
        raise UserError(f"{path}: value {row.value:g} disagrees with its verdicts, which give {share:g}")


def _identity(row: Row) -> tuple:
    return (row.preset, row.track, row.dataset, row.method, row.protocol, row.metric, row.seed)


def _name(row: Row) -> str:
    return f"{row.preset} {row.track} {row.dataset} {row.method} {row.protocol} seed {row.seed}"


def rows_of(stored: Iterable[Stored]) -> list[Row]:
    """The rows alone."""
    return [item.row for item in stored]
