"""Reads result rows. What cannot be read becomes one line, and the rest is still shown."""

import base64
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from contrastbench.errors import UserError
from contrastbench.reporting.metrics import METRICS
from contrastbench.reporting.rows import Row, parse_row, row_path, unpack_correct

ROWS = "results/rows"


@dataclass(frozen=True)
class Stored:
    """A row, the stage that wrote it, and where it lies."""

    row: Row
    stage: str
    path: str


@dataclass
class Loaded:
    """The rows that could be read, in the order of their paths, and one line for each that could not."""

    rows: list[Stored] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def only(self, preset: str) -> "Loaded":
        """The rows of one preset, with all problems."""
        return Loaded([stored for stored in self.rows if stored.row.preset == preset], self.problems)

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
        return Loaded(rows, [*self.problems, line])

    def presets(self) -> list[str]:
        """Presets that have rows, the default first."""
        return sorted({stored.row.preset for stored in self.rows}, key=lambda name: (name != "default", name))


def rows_in(root: Path = Path()) -> Loaded:
    """All rows of the project folder ``root``."""
    files = sorted((root / ROWS).glob("**/*.json"))
    return parse_all({file.relative_to(root).as_posix(): file.read_bytes() for file in files})


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
    if not math.isclose(share, row.value, abs_tol=1e-9):
        raise UserError(f"{path}: value {row.value:g} disagrees with its verdicts, which give {share:g}")


def _identity(row: Row) -> tuple:
    return (row.preset, row.track, row.dataset, row.method, row.protocol, row.metric, row.seed)


def _name(row: Row) -> str:
    return f"{row.preset} {row.track} {row.dataset} {row.method} {row.protocol} seed {row.seed}"


def rows_of(stored: Iterable[Stored]) -> list[Row]:
    """The rows alone."""
    return [item.row for item in stored]
