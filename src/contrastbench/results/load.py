"""Reads result rows. What cannot be read becomes one line, and the rest is still shown."""

import base64
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from contrastbench.errors import UserError
from contrastbench.files import entries_under
from contrastbench.registry import RESERVED_NAME
from contrastbench.results.legacy import SCHEMA_THEN, name_then, row_from
from contrastbench.results.metrics import METRICS
from contrastbench.results.revisions import WORKTREE, files_at
from contrastbench.results.rows import Row, parse_json, parse_row, unpack_correct

ROWS = "results/rows"
ALL = RESERVED_NAME  # in a path: the job takes all methods, or all seeds
ROUNDING = 1e-9  # how far numbers may lie apart that are equal before they are rounded


@dataclass(frozen=True)
class StoredRow:
    """A row and the file that it lies in."""

    row: Row
    path: str


@dataclass
class Loaded:
    """The rows that could be read, in the order of their files.

    problems  one line for each row that could not be read
    left_out  one line for each reason why readable rows do not count
    why_not   each file with such rows and each reason there
    older     the rows that older code made, by identity; they count, and are marked
    """

    stored: list[StoredRow] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    why_not: frozenset[tuple[str, str]] = frozenset()
    older: set[tuple] = field(default_factory=set)

    @property
    def rows(self) -> list[Row]:
        """The rows alone."""
        return [each.row for each in self.stored]

    def only(self, preset: str) -> "Loaded":
        """The rows of one preset, with all lines."""
        return self.where(lambda row: row.preset == preset)

    def where(self, holds: Callable[[Row], bool]) -> "Loaded":
        """The rows for which ``holds``, with all lines."""
        return replace(self, stored=[each for each in self.stored if holds(each.row)])

    def presets(self) -> list[str]:
        """Presets that have rows, the default first."""
        return sorted({row.preset for row in self.rows}, key=lambda name: (name != "default", name))

    def checked(self, preset: str, why_not: Callable[[Row], str | None], is_older: Callable[[Row], bool]) -> "Loaded":
        """Without the rows of ``preset`` for which ``why_not`` gives a reason; one line per reason tells of them."""
        reasons: dict[str, list[StoredRow]] = {}
        kept, older = [], set(self.older)
        for each in self.stored:
            reason = why_not(each.row) if each.row.preset == preset else None
            if reason is not None:
                reasons.setdefault(reason, []).append(each)
                continue
            kept.append(each)
            if each.row.preset == preset and is_older(each.row):
                older.add(each.row.identity)
        lines = [_left_out(preset, reason, rows) for reason, rows in reasons.items()]
        files = {(each.path, reason) for reason, rows in reasons.items() for each in rows}
        return replace(self, stored=kept, left_out=[*self.left_out, *lines], why_not=self.why_not | files, older=older)

    def older_line(self) -> str | None:
        """One line that counts the rows of older code; None where there are none."""
        count = sum(row.identity in self.older for row in self.rows)
        return (
            f"{count} of {len(self.stored)} rows were made by older code of their stages; marked †" if count else None
        )


def _left_out(preset: str, reason: str, rows: list[StoredRow]) -> str:
    files = list(dict.fromkeys(each.path for each in rows))
    more = f" and {len(files) - 1} more files" if len(files) > 1 else ""
    return f"{files[0]}{more}: {len(rows)} rows left out: {reason} (preset {preset})"


def rows_in(root: Path = Path(), folder: str = ROWS) -> Loaded:
    """All rows of the project folder ``root``, or those under the folder ``folder`` in it."""
    return rows_at(WORKTREE, folder, root)


def rows_at(revision: str, folder: str = ROWS, root: Path = Path()) -> Loaded:
    """The rows under ``folder`` at a git revision, or in the WORKTREE."""
    if revision != WORKTREE:
        return parse_all(files_at(revision, folder, root))
    entries = {path.relative_to(root).as_posix(): path for path in entries_under(root / folder)}
    rows = {name: path for name, path in entries.items() if name.endswith((".jsonl", ".json"))}
    loaded = parse_all({name: path.read_bytes() for name, path in rows.items() if path.is_file()})
    loaded.problems += [f"{name}: not result rows: not a file" for name, path in rows.items() if not path.is_file()]
    return loaded


def parse_all(files: Mapping[str, bytes]) -> Loaded:
    """Read rows from the bytes of their files, by path.

    Today ``results/rows/PRESET/STAGE/TRACK/DATASET/METHOD/SEED.jsonl``, a line per row; in older commits
    ``.../METHOD/PROTOCOL/SEED.json``. Where both hold a row, the former counts.
    """
    loaded = Loaded()
    owner: dict[tuple, str] = {}
    for path in sorted(files, key=lambda path: (not path.endswith(".jsonl"), path)):
        for source, read in _readers(path, files[path]):
            try:
                row = read()
                _check(source, row)
                first = owner.setdefault(row.identity, source)
                if first != source:
                    raise UserError(f"{source}: measures the same as {first}; left out")
                loaded.stored.append(StoredRow(row, path))
            except UserError as problem:
                loaded.problems.append(" ".join(str(problem).split()))
    return loaded


def _readers(path: str, content: bytes) -> Iterator[tuple[str, Callable[[], Row]]]:
    """For each row in a file: what to call it in messages, and a function that reads it."""
    if path.endswith(".json"):
        yield path, lambda: _old_row(path, _text(path, content))
    elif path.endswith(".jsonl"):
        for number, line in enumerate(content.split(b"\n"), 1):
            if line.strip():
                source = f"{path}:{number}"
                yield source, lambda line=line, source=source: _row(path, source, _text(source, line))  # type: ignore[misc]


def _text(source: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise UserError(f"{source}: not a result row: not UTF-8 text") from None


def _row(path: str, source: str, text: str) -> Row:
    row = parse_row(text, source)
    folder = f"{ROWS}/{row.preset}/{row.stage}/{row.track}/{row.dataset}"
    places = {f"{folder}/{method}/{seed}.jsonl" for method in (row.method, ALL) for seed in (row.seed, ALL)}
    if path not in places:
        raise UserError(f"{source}: not a row of this file: it says {_named(row)}")
    return row


def _old_row(path: str, text: str) -> Row:
    content = parse_json(text, path)
    version = content.get("schema") if isinstance(content, dict) else None
    if type(version) is not int or version != SCHEMA_THEN:
        raise UserError(f"{path}: row schema {version!r}; a file per row has {SCHEMA_THEN}")
    parts = PurePosixPath(path).parts
    row = row_from(content, parts[3] if len(parts) > 3 else "", path)
    name = f"{row.track}/{row.dataset}/{row.method}/{name_then(row.protocol)}/{row.seed}.json"
    if path != f"{ROWS}/{row.preset}/{row.stage}/{name}":
        raise UserError(f"{path}: not a row of this file: it says {_named(row)}")
    return row


def _check(source: str, row: Row) -> None:
    if row.metric not in METRICS:
        raise UserError(f"{source}: unknown metric {row.metric!r}; known: {', '.join(METRICS)}")
    if METRICS[row.metric].percent and not 0 <= row.value <= 1:
        raise UserError(f"{source}: value {row.value:g}: a share must lie between 0 and 1")
    low, high = row.interval or (row.value, row.value)
    if not low - ROUNDING <= row.value <= high + ROUNDING:
        raise UserError(f"{source}: interval {low:g} to {high:g} does not hold the value {row.value:g}")
    if row.detail.get("drawn_from", row.n) < row.n:
        raise UserError(f"{source}: {row.n} examples, drawn_from only {row.detail['drawn_from']}")
    if row.correct is not None:
        _check_verdicts(source, row)


def _check_verdicts(source: str, row: Row) -> None:
    try:
        length = len(base64.b64decode(row.correct or "", validate=True))
    except ValueError:
        length = -1
    if length != (row.n + 7) // 8:
        raise UserError(f"{source}: correct: not one bit for each of {row.n} examples")
    share = float(unpack_correct(row.correct or "", row.n).mean())
    if not math.isclose(share, row.value, abs_tol=ROUNDING):
        raise UserError(f"{source}: value {row.value:g} disagrees with its verdicts, which give {share:g}")


def _named(row: Row) -> str:
    return f"{row.preset} {row.stage} {row.track} {row.dataset} {row.method} seed {row.seed}"
