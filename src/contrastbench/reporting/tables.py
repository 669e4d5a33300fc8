"""Tables of one track: method x (data set, protocol, metric), and which differences in them are significant."""

import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import combinations

from contrastbench.pipeline.groups import Group
from contrastbench.pipeline.stages import GROUPS, OTHER, group_of
from contrastbench.reporting.cells import Cell, Column, Key, cells_of, dataset_order, key_of, method_order
from contrastbench.reporting.significance import ALPHA, SeedVariance, compare_rows, holm, pooled_seeds
from contrastbench.results.load import Loaded
from contrastbench.results.metrics import METRICS
from contrastbench.results.order import natural

BEST, TIED = "best", "tied"
MEASURED = re.compile(r"[\d.]+%|\d+ of \d+")  # in the line of a failed check


@dataclass(frozen=True)
class Table:
    """One data set and one group of protocols.

    methods  row order
    columns  column order
    cells    what was measured; not every pair need be there
    marks    ``best`` (significantly better than every other method of the column) or ``tied`` (not significantly
             worse than the column's best), for cells that are either
    changes  what the variants among ``methods`` change
    """

    dataset: str
    group: Group
    methods: tuple[str, ...]
    columns: tuple[Column, ...]
    cells: dict[tuple[str, Column], Cell]
    marks: dict[tuple[str, Column], str]
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
        return replace(self, methods=methods, columns=columns, cells=cells)

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
    """The tables of variants, the methods they vary and those ``also`` named, on the columns of the variants.

    Without the worst case: methods are attacked with more than variants, so that it is not the same for both.
    """
    variants = [key_of(row) for row in loaded.rows if row.method != row.base]
    wanted = {key.method for key in variants} | {key.base for key in variants} | set(also)
    columns = {key.column for key in variants if key.protocol.family != "worst-case"}
    return _split(loaded.where(lambda row: row.method in wanted and key_of(row).column in columns))


def _split(loaded: Loaded) -> list[Table]:
    """The tables of all rows: what else there are must not reach :func:`cells_of`, which pools over columns."""
    groups: dict[tuple[str, Group], list[Cell]] = {}
    for cell in cells_of(loaded).values():
        groups.setdefault((cell.key.dataset, group_of(cell.key.protocol)), []).append(cell)
    places = [*GROUPS, OTHER]
    in_order = sorted(groups, key=lambda group: (dataset_order(group[0]), places.index(group[1])))
    return [table_of(dataset, group, groups[dataset, group]) for dataset, group in in_order]


def table_of(dataset: str, group: Group, cells: list[Cell]) -> Table:
    """One table of ``cells``, rows and columns in their order, what is significant marked."""
    keys = {cell.key.method: cell.key for cell in cells}
    methods = sorted(keys, key=lambda method: method_order(keys[method]))
    columns = sorted({cell.key.column for cell in cells}, key=_column_order)
    placed = {(cell.key.method, cell.key.column): cell for cell in cells}
    return Table(dataset, group, tuple(methods), tuple(columns), placed, marks(placed))


def _column_order(column: Column) -> tuple:
    leading = ("linear", "clean")
    return (column.protocol.family not in leading, natural(column.protocol.name), column.metric)


def marks(cells: dict[tuple[str, Column], Cell]) -> dict[tuple[str, Column], str]:
    """Mark the best of each column, or all that tie for it.

    Every pair of methods of every column is tested, with the variance over seeds pooled over the column's methods,
    and Holm's correction runs over all of them, so that picking the best after seeing the values costs nothing.
    Cells that failed a sanity check, or rest on another number of examples than the column, take no part, neither in
    the pairs nor in the pooling.
    """
    columns: dict[Column, list[Cell]] = {}
    for (_, column), cell in cells.items():
        columns.setdefault(column, []).append(cell)
    for column, group in columns.items():
        number = most_common_n(group)
        columns[column] = [cell for cell in group if cell.n == number and not cell.failed_checks]
    differs = _significant_pairs(columns)
    found = {}
    for column, group in columns.items():
        if len(group) < 2:
            continue
        sign = 1 if METRICS[column.metric].higher_is_better else -1
        best = max(group, key=lambda cell: sign * cell.mean)
        ties = [cell for cell in group if cell is not best and frozenset((cell.key, best.key)) not in differs]
        if not ties:
            found[best.key.method, column] = BEST
            continue
        for cell in (best, *ties):
            found[cell.key.method, column] = TIED
    return found


def most_common_n(cells: Iterable[Cell]) -> str:
    """The number of test examples of most ``cells``; of several, the largest."""
    counts = Counter(cell.n for cell in cells)
    return max(counts, key=lambda number: (counts[number], natural(number)))


def _significant_pairs(columns: dict[Column, list[Cell]]) -> set[frozenset[Key]]:
    pairs, p_values = [], []
    for group in columns.values():
        pooled = pooled_seeds([cell.rows for cell in group]) if group else None
        for first, second in combinations(group, 2):
            p_value = _p_value(first, second, pooled)
            if p_value is not None:
                pairs.append(frozenset((first.key, second.key)))
                p_values.append(p_value)
    return {pair for pair, adjusted in zip(pairs, holm(p_values), strict=True) if adjusted <= ALPHA}


def _p_value(first: Cell, second: Cell, pooled: SeedVariance | None) -> float | None:
    try:
        return compare_rows(first.rows, second.rows, pooled).p_value
    except ValueError:  # no seed in common
        return None
