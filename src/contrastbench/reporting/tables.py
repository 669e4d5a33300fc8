"""Tables of one track: method x (data set, protocol, metric), and which differences in them are significant."""

import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import combinations

from contrastbench.pipeline.groups import Group
from contrastbench.pipeline.layout import Job
from contrastbench.pipeline.stages import GROUPS, OTHER, group_of
from contrastbench.reporting.cells import Cell, Column, cells_of, dataset_order, key_of, method_order
from contrastbench.reporting.significance import ALPHA, Paired, SeedVariance, compare_rows, holm, pooled_seeds
from contrastbench.results.load import Loaded
from contrastbench.results.metrics import METRICS
from contrastbench.results.order import natural

BEST, TIED = "best", "tied"
AS_NT_XENT = 0.995  # a mean cosine of gradients: an angle below 6 degrees
MEASURED = re.compile(r"[\d.]+%|\d+ of \d+")  # in the line of a failed check


@dataclass(frozen=True)
class Difference:
    """Two methods of one column: ``first`` minus ``second``, with the test of :func:`compare_rows`.

    adjusted  the p-value after Holm's correction over the table; None where nothing was tested
    """

    column: Column
    first: str
    second: str
    paired: Paired
    adjusted: float | None = None


@dataclass(frozen=True)
class Table:
    """One data set and one group of protocols.

    methods      row order
    columns      column order
    cells        what was measured; not every pair need be there
    marks        ``best`` (significantly better than every other method of the column) or ``tied`` (not significantly
                 worse than the column's best), for cells that are either
    differences  of every two methods of a column that are compared
    notes        what is to be said beside a method's name
    changes      what the variants among ``methods`` change
    """

    dataset: str
    group: Group
    methods: tuple[str, ...]
    columns: tuple[Column, ...]
    cells: dict[tuple[str, Column], Cell]
    marks: dict[tuple[str, Column], str]
    differences: tuple[Difference, ...]
    notes: dict[str, str] = field(default_factory=dict)
    changes: dict[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Heading."""
        return f"{self.dataset}: {self.group.title}"

    @property
    def seeds(self) -> str:
        """``3 seeds``, or the range where cells differ."""
        counts = {cell.seeds for cell in self.cells.values()}
        number = f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
        return f"{number} seed{'' if counts == {1} else 's'}"

    @property
    def has_older(self) -> bool:
        """Whether a cell is marked because older code made one of its rows."""
        return any(cell.older for cell in self.cells.values())

    def n(self, column: Column) -> str:
        """Test examples behind the values of a column."""
        return self._numbers[column]

    @cached_property
    def _numbers(self) -> dict[Column, str]:
        columns: dict[Column, list[Cell]] = {}
        for (_, column), cell in self.cells.items():
            columns.setdefault(column, []).append(cell)
        return {column: most_common_n(cells) for column, cells in columns.items()}

    def other_n(self, method: str, column: Column) -> str:
        """The number of test examples behind a cell where it is not the column's, else nothing."""
        number = self.cells[method, column].n
        return number * (number != self.n(column))

    def only(self, patterns: Iterable[str]) -> "Table":
        """The columns whose protocol matches one of ``patterns``; what is significant stays that of the whole table."""
        columns = tuple(c for c in self.columns if any(fnmatchcase(c.protocol.name, pattern) for pattern in patterns))
        cells = {place: cell for place, cell in self.cells.items() if place[1] in columns}
        methods = tuple(method for method in self.methods if any(place[0] == method for place in cells))
        differences = tuple(each for each in self.differences if each.column in columns)
        return replace(self, methods=methods, columns=columns, cells=cells, differences=differences)

    def note(self, method: str) -> str:
        """What is written behind a method's name, `` (as NT-Xent)``; mostly nothing."""
        return f" ({self.notes[method]})" if method in self.notes else ""

    def failures(self) -> dict[str, list[str]]:
        """For each sanity check that failed: the methods and protocols concerned.

        Lines that differ in what was measured alone are told once, with the numbers of the first.
        """
        alike: dict[str, tuple[str, list[str]]] = {}
        for (method, column), cell in self.cells.items():
            for line in cell.failed_checks:
                _, where = alike.setdefault(MEASURED.sub("", line), (line, []))
                where.append(f"{method} {column.protocol.name}")
        return {
            line + (" (for example)" if len(where) > 1 and MEASURED.search(line) else ""): list(dict.fromkeys(where))
            for line, where in alike.values()
        }


def own_rows(loaded: Loaded, also: Collection[str] = ()) -> Loaded:
    """The rows of the registered methods and of the variants among ``also``, which a track runs by default."""
    return loaded.where(lambda row: row.method == row.base or row.method in also)


def tables_of(loaded: Loaded, also: Collection[str] = ()) -> list[Table]:
    """The tables of :func:`own_rows`; the rows are those of one preset and track."""
    return _split(own_rows(loaded, also))


def ablation_tables(loaded: Loaded, also: Iterable[str] = ()) -> list[Table]:
    """The tables of :func:`ablation_rows`."""
    return _split(ablation_rows(loaded, also))


def ablation_rows(loaded: Loaded, also: Iterable[str] = ()) -> Loaded:
    """The rows of variants, the methods they vary and those ``also`` named, on the columns of the variants.

    Without the worst case: methods are attacked with more than variants, so that it is not the same for both.
    """
    variants = [key_of(row) for row in loaded.rows if row.method != row.base]
    wanted = {key.method for key in variants} | {key.base for key in variants} | set(also)
    columns = {key.column for key in variants if key.protocol.family != "worst-case"}
    return loaded.where(lambda row: row.method in wanted and key_of(row).column in columns)


def _split(loaded: Loaded) -> list[Table]:
    """The tables of all rows: what else there are must not reach :func:`cells_of`, which pools over columns."""
    groups: dict[tuple[str, Group], list[Cell]] = {}
    cells = cells_of(loaded)
    notes = notes_of(cells.values())
    for cell in cells.values():
        groups.setdefault((cell.key.dataset, group_of(cell.key.protocol)), []).append(cell)
    places = [*GROUPS, OTHER]
    in_order = sorted(groups, key=lambda group: (dataset_order(group[0]), places.index(group[1])))
    tables = [table_of(dataset, group, groups[dataset, group]) for dataset, group in in_order]
    return [replace(table, notes=notes.get(Job("", table.dataset).trained.dataset, {})) for table in tables]


def notes_of(cells: Iterable[Cell]) -> dict[str, dict[str, str]]:
    """By data set, the methods that are numerically their baseline: NT-Xent has their gradient at their temperature."""
    found: dict[str, dict[str, str]] = {}
    for cell in cells:
        if cell.key.protocol.family == "gradient-cosine" and cell.mean >= AS_NT_XENT:
            found.setdefault(cell.key.dataset, {})[cell.key.method] = "as NT-Xent"
    return found


def table_of(dataset: str, group: Group, cells: list[Cell]) -> Table:
    """One table of ``cells``, rows and columns in their order, what is significant marked."""
    keys = {cell.key.method: cell.key for cell in cells}
    methods = sorted(keys, key=lambda method: method_order(keys[method]))
    columns = sorted({cell.key.column for cell in cells}, key=_column_order)
    placed = {(cell.key.method, cell.key.column): cell for cell in cells}
    compared = {
        column: comparable([cell for cell in cells if cell.key.column == column])
        for column in columns
        if METRICS[column.metric].higher_is_better is not None
    }
    differences = differences_in(compared)
    return Table(dataset, group, tuple(methods), tuple(columns), placed, marks(compared, differences), differences)


def _column_order(column: Column) -> tuple:
    leading = ("linear", "clean", "fold-svm")
    return (column.protocol.family not in leading, natural(column.protocol.name), column.metric)


def comparable(column: Collection[Cell]) -> list[Cell]:
    """Those cells of a column that are compared: without failed checks, on the number of examples that most rest on."""
    number = most_common_n(column)
    return [cell for cell in column if cell.n == number and not cell.failed_checks]


def most_common_n(cells: Iterable[Cell]) -> str:
    """The number of test examples of most ``cells``; of several, the largest."""
    counts = Counter(cell.n for cell in cells)
    return max(counts, key=lambda number: (counts[number], natural(number)))


def pools(column: Iterable[Cell]) -> dict[bool, SeedVariance | None]:
    """The variance over seeds, pooled over a column: for two methods, and for a pair with a reference row (True).

    Reference rows vary in another way than methods do (`pixels` not at all), so only pairs with one pool over them.
    """
    found = list(column)
    methods = [cell for cell in found if not cell.key.is_reference]
    return {each is found: pooled_seeds([cell.rows for cell in each]) if each else None for each in (methods, found)}


def differences_in(columns: dict[Column, list[Cell]]) -> tuple[Difference, ...]:
    """Every pair of cells of every column, tested with the variance over seeds pooled over the column.

    Holm's correction runs over all pairs of methods, so that picking the best after seeing the values costs nothing;
    and, apart, over the pairs with a reference row.
    """
    found: dict[bool, list[Difference]] = {False: [], True: []}
    for column, cells in columns.items():
        pooled = pools(cells)
        for first, second in combinations(cells, 2):
            with_reference = first.key.is_reference or second.key.is_reference
            try:
                paired = compare_rows(first.rows, second.rows, pooled[with_reference])
            except ValueError:  # no seed in common
                continue
            found[with_reference].append(Difference(column, first.key.method, second.key.method, paired))
    return tuple(each for differences in found.values() for each in _corrected(differences))


def _corrected(differences: list[Difference]) -> list[Difference]:
    adjusted = iter(holm([each.paired.p_value for each in differences if each.paired.p_value is not None]))
    return [each if each.paired.p_value is None else replace(each, adjusted=next(adjusted)) for each in differences]


def marks(columns: dict[Column, list[Cell]], differences: Iterable[Difference]) -> dict[tuple[str, Column], str]:
    """Mark the best of each column, or all that tie for it, of the cells that are compared."""
    differs = {
        (each.column, frozenset((each.first, each.second)))
        for each in differences
        if each.adjusted is not None and each.adjusted <= ALPHA
    }
    found: dict[tuple[str, Column], str] = {}
    for column, group in columns.items():
        if len(group) < 2:
            continue
        sign = 1 if METRICS[column.metric].higher_is_better else -1
        best = max(group, key=lambda cell: sign * cell.mean).key.method
        others = [cell.key.method for cell in group if cell.key.method != best]
        ties = [method for method in others if (column, frozenset((method, best))) not in differs]
        found |= {(method, column): TIED for method in (best, *ties)} if ties else {(best, column): BEST}
    return found
