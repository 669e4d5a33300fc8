"""Compares the result rows of two revisions, cell by cell, and says why cells differ."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from contrastbench.errors import UserError
from contrastbench.pipeline.asked import rows_that_counted
from contrastbench.pipeline.stages import STAGES
from contrastbench.reporting.cells import Cell, Key, cells_of, key_of, order
from contrastbench.reporting.params_diff import changed_parameters
from contrastbench.reporting.significance import ALPHA, compare_rows, holm
from contrastbench.results.load import Loaded
from contrastbench.results.metrics import METRICS
from contrastbench.results.revisions import describe

BETTER, WORSE, SAME, NEW, GONE, NOT_COMPARABLE = "better", "worse", "same", "new", "gone", "not comparable"


@dataclass(frozen=True)
class Change:
    """One cell in both revisions.

    verdict     better, worse, same (not significantly different), new, gone or not comparable
    difference  after minus before, mean over common seeds; None where it means nothing
    p_value     Holm-corrected over all tested cells; None where nothing was tested
    why         the reason for ``not comparable``, else what differs between the two runs
    changed     whether anything a reader sees differs
    """

    key: Key
    before: Cell | None
    after: Cell | None
    verdict: str
    difference: float | None = None
    p_value: float | None = None
    why: str = ""
    changed: bool = True


@dataclass(frozen=True)
class Comparison:
    """All cells of two revisions, and what else differs between them.

    parameters  key path -> (before, after)
    code        stage -> (cells whose code differs, cells in both revisions)
    problems    one line for everything that could not be read
    """

    before: str
    after: str
    changes: list[Change]
    parameters: dict[str, tuple[str, str]]
    code: dict[str, tuple[int, int]]
    problems: list[str]

    def shown(self, everything: bool) -> list[Change]:
        """The cells that a reader wants: those that changed, or all."""
        return [change for change in self.changes if everything or change.changed]

    def count(self, verdict: str) -> int:
        """How many cells got this verdict."""
        return sum(change.verdict == verdict for change in self.changes)


def compare_revisions(before: str, after: str, preset: str, root: Path = Path()) -> Comparison:
    """Compare the rows of ``preset`` at two revisions, each a git revision or ``WORKTREE``."""
    names = describe(before, root), describe(after, root)
    problems: list[str] = []
    sides = [_rows_at(revision, preset, root, problems) for revision in (before, after)]
    if not any(side.rows for side in sides):
        raise UserError(f"neither {names[0]} nor {names[1]} has readable result rows of preset {preset!r}")
    parameters, unreadable = changed_parameters(before, after, preset, root)
    changes = compare_rows_of(sides[0], sides[1], parameters)
    return Comparison(*names, changes, parameters, _code_changes(*sides), problems + unreadable)


def _rows_at(revision: str, preset: str, root: Path, problems: list[str]) -> Loaded:
    loaded = rows_that_counted(revision, preset, root)
    problems += [f"{revision}: {problem}" for problem in (*loaded.problems, *loaded.left_out)]
    if not loaded.rows:
        problems.append(f"{describe(revision, root)}: no result rows of preset {preset!r}")
    return loaded


def compare_rows_of(before: Loaded, after: Loaded, parameters: Mapping[str, object]) -> list[Change]:
    """Every cell of either side, judged; ``parameters`` are the key paths that differ between the sides."""
    left, right = cells_of(before), cells_of(after)
    stages = _stages(before) | _stages(after)
    changes = []
    for key in sorted(left.keys() | right.keys(), key=order):
        old, new = left.get(key), right.get(key)
        if old is None or new is None:
            changes.append(Change(key, old, new, NEW if old is None else GONE))
        else:
            changes.append(_judge(old, new, stages[key], parameters))
    return _corrected(changes)


def _judge(old: Cell, new: Cell, stage: str, parameters: Mapping[str, object]) -> Change:
    causes = _causes(old, new)
    obstacle = _obstacle(old, new)
    if obstacle is None and _measured(old) == _measured(new):
        changed = old.failed_checks != new.failed_checks
        return Change(old.key, old, new, SAME, 0.0, None, "; ".join(causes), changed)
    protocol = _protocol_changes(old, new, stage, parameters)
    if obstacle is None and protocol:
        obstacle = f"parameters of the protocol changed: {', '.join(protocol)}"
    if obstacle is not None:
        return Change(old.key, old, new, NOT_COMPARABLE, why=obstacle)
    paired = compare_rows(new.rows, old.rows)
    if paired.p_value is None:
        return Change(old.key, old, new, NOT_COMPARABLE, paired.difference, why=paired.test)
    return Change(old.key, old, new, SAME, paired.difference, paired.p_value, "; ".join(causes))


def _obstacle(old: Cell, new: Cell) -> str | None:
    """Why two cells do not measure the same thing, if their rows already show it."""
    pairs = _common(old, new)
    if not pairs:
        return "no seed in common"
    for name, values in (
        ("test data", [(a.data_hash, b.data_hash) for a, b in pairs]),
        ("n", [(a.n, b.n) for a, b in pairs]),
        ("label draws", [(len(a.detail.get("draws", [])), len(b.detail.get("draws", []))) for a, b in pairs]),
    ):
        for first, second in values:
            if first != second:
                return f"{name} changed: {first} to {second}"
    return None


def _common(old: Cell, new: Cell) -> list:
    by_seed = {row.seed: row for row in new.rows}
    return [(row, by_seed[row.seed]) for row in old.rows if row.seed in by_seed]


def _measured(cell: Cell) -> list[tuple]:
    return [(row.seed, row.value, row.correct) for row in cell.rows]


def _causes(old: Cell, new: Cell) -> list[str]:
    """What differs between the runs behind two comparable cells."""
    pairs = _common(old, new)
    causes = [
        name
        for name, attribute in (("params", "params_hash"), ("code", "code_hash"), ("device", "device"))
        if any(getattr(a, attribute) != getattr(b, attribute) for a, b in pairs)
    ]
    if old.seeds != new.seeds or len(pairs) != old.seeds:
        causes.append(f"seeds {_seeds(old)} to {_seeds(new)}, compared on those in common")
    if set(new.failed_checks) - set(old.failed_checks):
        causes.append("fails a sanity check now")
    return causes


def _seeds(cell: Cell) -> str:
    return ",".join(str(row.seed) for row in cell.rows)


def _protocol_changes(old: Cell, new: Cell, stage: str, parameters: Mapping[str, object]) -> list[str]:
    if all(a.params_hash == b.params_hash for a, b in _common(old, new)):
        return []
    sections = tuple(f"{old.key.track}.{section}." for section in STAGES[stage].sections)
    return [path for path in parameters if path.startswith(sections)]


def _corrected(changes: list[Change]) -> list[Change]:
    tested = [index for index, change in enumerate(changes) if change.p_value is not None]
    adjusted = holm([changes[index].p_value or 0.0 for index in tested])
    for index, p_value in zip(tested, adjusted, strict=True):
        change = changes[index]
        verdict = SAME
        if p_value <= ALPHA:
            up = (change.difference or 0.0) > 0
            verdict = BETTER if up == METRICS[change.key.metric].higher_is_better else WORSE
        changes[index] = replace(change, verdict=verdict, p_value=p_value)
    return changes


def _stages(loaded: Loaded) -> dict[Key, str]:
    return {key_of(row): row.stage for row in loaded.rows}


def _code_changes(before: Loaded, after: Loaded) -> dict[str, tuple[int, int]]:
    left, right = ({row.identity: row.code_hash for row in side.rows} for side in (before, after))
    counts: dict[str, tuple[int, int]] = {}
    for row in before.rows:
        if row.identity in right:
            differing, total = counts.get(row.stage, (0, 0))
            counts[row.stage] = (differing + (left[row.identity] != right[row.identity]), total + 1)
    return {stage: count for stage, count in counts.items() if count[0]}
