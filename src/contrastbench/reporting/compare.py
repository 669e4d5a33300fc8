"""Compares the rows of two revisions, cell by cell, and says why cells differ; or two methods of one revision."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from contrastbench.errors import UserError
from contrastbench.pipeline.asked import rows_that_counted
from contrastbench.pipeline.stages import STAGES
from contrastbench.registry import RESERVED_IN_NAMES
from contrastbench.reporting.cells import Cell, Key, cells_of, key_of, method_order, order
from contrastbench.reporting.params_diff import Differences, changed_parameters, names_other_data
from contrastbench.reporting.significance import ALPHA, Interval, SeedVariance, compare_rows, holm
from contrastbench.reporting.tables import own_rows, pools
from contrastbench.results.legacy import same_data, same_parameters
from contrastbench.results.load import Loaded
from contrastbench.results.metrics import METRICS
from contrastbench.results.revisions import describe
from contrastbench.results.rows import Row

WORSE, CHANGED, NOT_COMPARABLE = "worse", "changed, not significant", "not comparable"
GONE, NEW, BETTER, IDENTICAL = "gone", "new", "better", "identical"
OUTCOMES = (WORSE, CHANGED, NOT_COMPARABLE, GONE, NEW, BETTER, IDENTICAL)  # in the order in which they are shown


@dataclass(frozen=True)
class Change:
    """One cell on both sides: in two revisions, or of two methods.

    outcome     one of OUTCOMES
    difference  after minus before, mean over common seeds; None where it means nothing
    interval    95 % interval of the difference, for this cell alone; None where no test gives one
    p_value     Holm-corrected over all tested cells; None where nothing was tested
    why         the reason for ``not comparable``, else what differs between the two sides
    """

    key: Key
    before: Cell | None
    after: Cell | None
    outcome: str
    difference: float | None = None
    interval: Interval | None = None
    p_value: float | None = None
    why: str = ""

    @property
    def harm(self) -> float:
        """How much worse ``after`` is: as a share, or relative to ``before`` where values are no shares."""
        metric = METRICS[self.key.metric]
        if self.difference is None or self.before is None or metric.higher_is_better is None:
            return 0.0
        size = self.difference if metric.percent else self.difference / (abs(self.before.mean) or 1.0)
        return -size if metric.higher_is_better else size


@dataclass(frozen=True)
class Counts:
    """Of the rows of a stage that both revisions have: how many, and how many name other parameters or other code."""

    rows: int
    parameters: int
    code: int


@dataclass(frozen=True)
class Comparison:
    """All cells of two sides, worst first, and what else differs between them.

    title       what is compared
    of_methods  whether the sides are methods of one revision, and no revisions
    parameters  key path -> (before, after), of those that the preset reads; None where they cannot be read
    counts      by stage, where rows name other parameters or code
    problems    one line for all that could not be read or was left out
    """

    title: str
    before: str
    after: str
    changes: list[Change]
    problems: list[str]
    of_methods: bool = False
    parameters: Differences | None = field(default_factory=dict)
    counts: dict[str, Counts] = field(default_factory=dict)

    def shown(self, everything: bool) -> list[Change]:
        """The cells that a reader wants: those that are not identical, or all."""
        return [change for change in self.changes if everything or change.outcome != IDENTICAL]

    def count(self, outcome: str) -> int:
        """How many cells have this outcome."""
        return sum(change.outcome == outcome for change in self.changes)


def compare_revisions(before: str, after: str, preset: str, root: Path = Path()) -> Comparison:
    """Compare the rows of ``preset`` at two revisions, each a git revision or ``WORKTREE``."""
    names = describe(before, root), describe(after, root)
    problems: list[str] = []
    left, right = (_rows_at(revision, preset, root, problems) for revision in (before, after))
    if not left.rows and not right.rows:
        raise UserError(f"neither {names[0]} nor {names[1]} has readable result rows of preset {preset!r}")
    parameters, unreadable = changed_parameters(before, after, preset, root)
    changes = compare_rows_of(left, right, parameters)
    title = f"{names[0]} against {names[1]}, preset {preset}"
    return Comparison(
        title, *names, changes, problems + unreadable, parameters=parameters, counts=_counts(left.rows, right.rows)
    )


def compare_methods(revision: str, first: str, second: str, preset: str, root: Path = Path()) -> Comparison:
    """Compare two methods of one revision on every column that both have.

    The variance over seeds is pooled over the registered methods of a column and these two, as in tables: not over
    variants, which may be trained for other lengths. An unknown method is a UserError.
    """
    name = describe(revision, root)
    problems: list[str] = []
    loaded = _rows_at(revision, preset, root, problems)
    cells = cells_of(own_rows(loaded, (first, second))).values()
    known = dict.fromkeys(key.method for key in sorted(map(key_of, loaded.rows), key=method_order))
    for method in (first, second):
        if method not in known:
            raise UserError(
                f"{name}: no rows of {method!r}, preset {preset!r}; there are: {', '.join(known) or 'none'}"
            )
    if first == second:
        raise UserError(f"--methods {first} {second}: name two methods")
    columns: dict[tuple, dict[str, Cell]] = {}
    for cell in cells:
        columns.setdefault((cell.key.track, *cell.key.column), {})[cell.key.method] = cell
    both = [column for column in columns.values() if first in column and second in column]
    if not both:
        raise UserError(f"{name}: {first} and {second} have no data set and protocol in common, preset {preset!r}")
    changes = [_judge_methods(column[first], column[second], column.values()) for column in both]
    title = f"{first} against {second}, {name}, preset {preset}"
    return Comparison(title, first, second, _corrected(changes), problems, of_methods=True)


def _rows_at(revision: str, preset: str, root: Path, problems: list[str]) -> Loaded:
    loaded = rows_that_counted(revision, preset, root)
    problems += [f"{revision}: {problem}" for problem in (*loaded.problems, *loaded.left_out)]
    if not loaded.rows:
        problems.append(f"{describe(revision, root)}: no result rows of preset {preset!r}")
    return loaded


def compare_rows_of(before: Loaded, after: Loaded, parameters: Differences | None) -> list[Change]:
    """Every cell of either side, judged, worst first; ``parameters`` are those that differ between the sides."""
    left, right = ({cell.key.place: cell for cell in cells_of(side).values()} for side in (before, after))
    changes = []
    for place in left.keys() | right.keys():
        old, new = left.get(place), right.get(place)
        if old is not None and new is not None:
            changes.append(_judge(old, new, parameters))
        elif old is not None:
            changes.append(Change(old.key, old, None, GONE))
        elif new is not None:
            changes.append(Change(new.key, None, new, NEW))
    return _corrected(changes)


def _judge(old: Cell, new: Cell, parameters: Differences | None) -> Change:
    obstacle = _obstacle(old, new) or _other_protocol(old, new, parameters)
    if obstacle:
        return Change(new.key, old, new, NOT_COMPARABLE, why=obstacle)
    return _tested(old, new, _causes(old, new))


def _judge_methods(first: Cell, second: Cell, column: Iterable[Cell]) -> Change:
    obstacle = _obstacle(first, second)
    if obstacle:
        return Change(second.key, first, second, NOT_COMPARABLE, why=obstacle)
    pooled = pools(cell for cell in column if not cell.failed_checks or cell in (first, second))
    with_reference = first.key.is_reference or second.key.is_reference
    causes = [f"{cell.key.method} fails a sanity check" for cell in (first, second) if cell.failed_checks]
    return _tested(first, second, [*_seeds_differ(first, second), *causes], pooled[with_reference])


def _tested(old: Cell, new: Cell, causes: list[str], pooled: SeedVariance | None = None) -> Change:
    """Two comparable cells; whether their difference is significant is said once all are tested."""
    if _measured(old) == _measured(new):
        return Change(new.key, old, new, IDENTICAL, 0.0, why="; ".join(causes))
    if METRICS[new.key.metric].higher_is_better is None:
        why = "; ".join(["neither is better", *causes])
        return Change(new.key, old, new, CHANGED, new.mean - old.mean, why=why)
    paired = compare_rows(new.rows, old.rows, pooled)
    if paired.p_value is None:
        causes = [f"no test: {paired.test}", *causes]
    return Change(new.key, old, new, CHANGED, paired.difference, paired.interval, paired.p_value, "; ".join(causes))


def _obstacle(old: Cell, new: Cell) -> str | None:
    """Why two cells do not measure the same thing, if their rows already show it."""
    pairs = _common(old, new)
    if not pairs:
        return "no seed in common"
    for a, b in pairs:
        if not same_data(a, b):
            return f"other test data: {a.data_hash} and {b.data_hash}"
        for name, first, second in (("n", a.n, b.n), ("label draws", _draws(a), _draws(b))):
            if first != second:
                return f"other {name}: {first} and {second}"
    return None


def _draws(row: Row) -> int:
    return len(row.detail.get("draws", []))


def _other_protocol(old: Cell, new: Cell, parameters: Differences | None) -> str | None:
    """Which parameters of the protocol changed, by the sections that the row's stage goes by."""
    if parameters is None:
        if all(same_parameters(a, b) for a, b in _common(old, new)):
            return None
        return "rows name other parameters, and those of the protocol cannot be read"
    stage = STAGES.get(new.rows[0].stage)
    sections = tuple(f"{new.key.track}.{section}." for section in stage.sections) if stage else ()
    where = tuple(f"{section}datasets." for section in sections)  # says what is judged, not how
    datasets = set(new.key.dataset.split(RESERVED_IN_NAMES))
    found = [
        path
        for path in parameters
        if path.startswith(sections) and not path.startswith(where) and not names_other_data(path, datasets)
    ]
    return f"parameters of the protocol changed: {', '.join(found)}" if found else None


def _common(old: Cell, new: Cell) -> list[tuple[Row, Row]]:
    by_seed = {row.seed: row for row in new.rows}
    return [(row, by_seed[row.seed]) for row in old.rows if row.seed in by_seed]


def _measured(cell: Cell) -> tuple:
    """All that a reader sees of a cell, and the verdicts behind it."""
    return [(row.seed, row.value, row.correct) for row in cell.rows], cell.failed_checks


def _causes(old: Cell, new: Cell) -> list[str]:
    """What differs between the runs behind two comparable cells."""
    pairs = _common(old, new)
    differs = {
        "parameters": any(not same_parameters(a, b) for a, b in pairs),
        "code": any(a.code_hash != b.code_hash for a, b in pairs),
        "device": any(a.device != b.device for a, b in pairs),
    }
    causes = [*(name for name, found in differs.items() if found), *_seeds_differ(old, new)]
    if set(new.failed_checks) - set(old.failed_checks):
        causes.append("fails a sanity check now")
    return causes


def _seeds_differ(old: Cell, new: Cell) -> list[str]:
    left, right = ([str(row.seed) for row in cell.rows] for cell in (old, new))
    return [] if left == right else [f"seeds {','.join(left)} and {','.join(right)}, compared on those in common"]


def _corrected(changes: list[Change]) -> list[Change]:
    """With Holm's correction over all that was tested, and what it makes of the outcomes; worst first."""
    tested = [change for change in changes if change.p_value is not None]
    others = [change for change in changes if change.p_value is None]
    adjusted = holm([change.p_value or 0.0 for change in tested])
    found = [replace(change, p_value=p_value) for change, p_value in zip(tested, adjusted, strict=True)]
    found = [_significant(change) if (change.p_value or 0.0) <= ALPHA else change for change in found]
    return sorted(
        [*found, *others], key=lambda change: (OUTCOMES.index(change.outcome), -change.harm, order(change.key))
    )


def _significant(change: Change) -> Change:
    return replace(change, outcome=WORSE if change.harm > 0 else BETTER)


def _counts(before: list[Row], after: list[Row]) -> dict[str, Counts]:
    left = {row.identity: row for row in before}
    rows, parameters, code = Counter[str](), Counter[str](), Counter[str]()
    for new in after:
        old = left.get(new.identity)
        if old is not None:
            rows[new.stage] += 1
            parameters[new.stage] += not same_parameters(old, new)
            code[new.stage] += old.code_hash != new.code_hash
    return {
        stage: Counts(rows[stage], parameters[stage], code[stage]) for stage in rows if parameters[stage] or code[stage]
    }
