"""A cell of a table: all seeds of one (preset, track, data set, protocol, metric, method)."""

import statistics
from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from contrastbench.registry import DATASETS, DECLARED, METHODS, REFERENCES, WITHOUT_ENCODER
from contrastbench.reporting.significance import Interval
from contrastbench.reporting.uncertainty import Spread, interval_of, spread_of
from contrastbench.results.load import Loaded
from contrastbench.results.order import natural
from contrastbench.results.protocols import Protocol
from contrastbench.results.rows import Row

REGISTERED = (*WITHOUT_ENCODER, *METHODS)


class Key(NamedTuple):
    """What a cell is about."""

    preset: str
    track: str
    dataset: str
    protocol: Protocol
    metric: str
    method: str
    base: str  # the registered method behind ``method``

    @property
    def is_variant(self) -> bool:
        """Whether ``method`` is a label of params.yaml's ``variants``, and no registered method."""
        return self.method != self.base

    @property
    def is_reference(self) -> bool:
        """Whether nothing was learned."""
        return self.base in REFERENCES

    @property
    def column(self) -> "Column":
        """The table column that the cell is in."""
        return Column(self.dataset, self.protocol, self.metric)

    @property
    def place(self) -> tuple[str, ...]:
        """What tells it from other cells, by names alone: rows of schema 1 may lack parts of a protocol, or a base."""
        return (self.preset, self.track, self.dataset, self.protocol.name, self.metric, self.method)


class Column(NamedTuple):
    """What the methods are compared on."""

    dataset: str
    protocol: Protocol
    metric: str


@dataclass(frozen=True)
class Cell:
    """The rows of one key, by seed.

    older   whether not all of them were made by today's code, or by one code
    column  how much the methods of the cell's column vary from seed to seed; of a reference row's, all rows
    """

    key: Key
    rows: tuple[Row, ...]
    older: bool = False
    column: Spread | None = None

    def on(self, seeds: Container[int]) -> "Cell":
        """The cell with these seeds only."""
        return replace(self, rows=tuple(row for row in self.rows if row.seed in seeds))

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return statistics.fmean(row.value for row in self.rows)

    @cached_property
    def interval(self) -> Interval | None:
        """95 % interval of the mean, for other seeds and other test examples (reporting/uncertainty.py)."""
        return interval_of(self.rows, self.column)

    @property
    def sd(self) -> float | None:
        """Standard deviation over seeds (n - 1 in the denominator); None for one seed."""
        return statistics.stdev(row.value for row in self.rows) if len(self.rows) > 1 else None

    @property
    def seeds(self) -> int:
        """How many seeds."""
        return len(self.rows)

    @property
    def n(self) -> str:
        """Test examples (or episodes) behind each row."""
        return numbers(self.rows)

    @property
    def failed_checks(self) -> list[str]:
        """Every sanity check that a row of the cell failed, each once."""
        return list(dict.fromkeys(line for row in self.rows for line in row.detail.get("failed_checks", [])))


def key_of(row: Row) -> Key:
    """The cell that a row belongs to."""
    return Key(row.preset, row.track, row.dataset, row.protocol.column, row.metric, row.method, row.base)


def cells_of(loaded: Loaded) -> dict[Key, Cell]:
    """Group rows into cells."""
    groups: dict[Key, list[Row]] = {}
    for row in loaded.rows:
        groups.setdefault(key_of(row), []).append(row)

    def older(rows: list[Row]) -> bool:
        return any(row.identity in loaded.older for row in rows) or len({row.code_hash for row in rows}) > 1

    columns: dict[tuple, list[Key]] = {}  # methods on other numbers of examples tell nothing of each other
    for key, group in groups.items():
        if not any(row.detail.get("failed_checks") for row in group):
            columns.setdefault((key.preset, key.track, key.column, numbers(group)), []).append(key)
    spreads = {
        (column, reference): spread_of([groups[key] for key in keys if reference or not key.is_reference])
        for column, keys in columns.items()
        for reference in {key.is_reference for key in keys}
    }
    return {
        key: Cell(
            key,
            tuple(sorted(group, key=lambda row: row.seed)),
            older(group),
            spreads.get(((key.preset, key.track, key.column, numbers(group)), key.is_reference)),
        )
        for key, group in sorted(groups.items(), key=lambda item: order(item[0]))
    }


def numbers(rows: Iterable[Row]) -> str:
    """Test examples (or episodes) behind each row: ``500``, or ``500-1000`` where rows differ.

    A row that judged them in several draws, of labels or corruptions, has a verdict for each draw and example.
    """
    found = {row.n // len(row.detail.get("draws", [None])) for row in rows}
    return "-".join(str(number) for number in sorted({min(found), max(found)}))


def method_order(key: Key) -> tuple:
    """Registry order, each variant after its base, labels of no known base last."""
    known = REGISTERED.index(key.base) if key.base in REGISTERED else len(REGISTERED)
    return (known, key.is_variant, key.method)


def dataset_order(dataset: str) -> tuple:
    """Registry order, then the user's own by name; pairs TRAIN-to-PROBE after the plain data sets."""
    first = dataset.partition("-to-")[0]
    names = [name for name in DATASETS if name not in DECLARED]
    return ("-to-" in dataset, names.index(first) if first in names else len(names), dataset)


def order(key: Key) -> tuple:
    """Sort key of cells."""
    return (
        key.preset,
        key.track,
        dataset_order(key.dataset),
        natural(key.protocol.name),
        key.metric,
        method_order(key),
    )
