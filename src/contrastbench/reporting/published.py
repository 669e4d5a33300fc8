"""Published numbers of baselines, beside what was measured here.

Most are of another setting than this suite's, and no target: they stand in a column of their own. Those with a
``spread`` over seeds are of the setting that a track runs at full size, and are held against what it measures.
The systems that this suite re-implements have none here: no source gives a number that can be compared.
"""

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache, reduce
from importlib.resources import files

from contrastbench.params.graph_track import GraphTrack
from contrastbench.params.track import TrackParams
from contrastbench.registry import REFERENCES
from contrastbench.reporting.cells import Cell
from contrastbench.reporting.tables import Table

HEADING = "published, other setting"
WITHOUT_NUMBERS = ("unremix", "graphcl-unremix", "infograph-unremix", "swaro", "uamix-mae")
# What a track of graphs must have for its values to be at the published setting.
SETTING: dict[str, object] = {
    "encoder.layers": 3,
    "encoder.width": 32,
    "training.graphcl.epochs": 20,
    "training.graphcl.learning_rate": 0.01,
    "training.infograph.epochs": 20,
    "training.infograph.learning_rate": 0.001,
    "settings.graphcl.temperature": 0.2,
    "folds.outer": 10,
    "folds.inner": 5,
    "folds.strengths": (0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0),
}
NEAR = 1.0  # in units of both spreads: about two standard errors of the difference of two means over five seeds
READING = (
    "Published mean ± standard deviation, and what was measured here at the same setting, over seeds. The difference "
    "is also given in units of both spreads, the root of the sum of their squares; `met`: at most one such unit, about "
    "two standard errors of the difference where both are means over five seeds. It says that a number was reproduced, "
    "and not that anything was learned: beside it stands what the same protocol makes of the untrained encoder and of "
    "rows without an encoder, measured here."
)


@dataclass(frozen=True)
class Published:
    """One number of ``published.csv``, in per cent, with the setting and the source that gives it.

    spread  standard deviation over seeds, of numbers at the setting that is run here; else None
    """

    dataset: str
    protocol: str
    method: str
    value: float
    spread: float | None
    setting: str
    source: str

    @property
    def text(self) -> str:
        """``linear 91.1 (ResNet-50, batch 256; liubin06/BCL README)``."""
        return f"{self.protocol} {self.value:.1f} ({self.setting}; {self.source})"


class Standing(StrEnum):
    """How a measured value stands to the published one."""

    MET = "met"
    BELOW = "below"
    ABOVE = "above"


@dataclass(frozen=True)
class Beside:
    """A published number and the cell that was measured at its setting; of one seed alone, without a spread.

    references  the cells of the same column that have learned nothing, by method
    """

    published: Published
    cell: Cell
    references: Mapping[str, Cell] = field(default_factory=dict)

    @property
    def difference(self) -> float:
        """Measured minus published, in points."""
        return 100 * self.cell.mean - self.published.value

    @property
    def units(self) -> float:
        """The difference in units of both spreads."""
        return self.difference / math.hypot(self.published.spread or 0.0, 100 * (self.cell.sd or 0.0))

    @property
    def standing(self) -> Standing:
        """Whether the published value is met."""
        if abs(self.units) <= NEAR:
            return Standing.MET
        return Standing.ABOVE if self.units > 0 else Standing.BELOW


@cache
def published() -> tuple[Published, ...]:
    """Everything in ``published.csv``; ValueError if it holds a number for a system re-implemented here."""
    text = (files("contrastbench.reporting") / "published.csv").read_text(encoding="utf-8")
    numbers = []
    for line in csv.DictReader(text.splitlines()):
        if line["method"] in WITHOUT_NUMBERS:
            raise ValueError(f"published.csv: {line['method']} has no published number")
        spread = float(line["spread"]) if line["spread"] else None
        numbers.append(Published(**{**line, "value": float(line["value"]), "spread": spread}))  # type: ignore[arg-type]
    return tuple(numbers)


def published_for(table: Table) -> dict[str, list[Published]]:
    """The numbers of other settings that belong to a table's data set and protocols, by method; mostly empty."""
    protocols = {column.protocol.name for column in table.columns}
    found: dict[str, list[Published]] = {}
    for number in published():
        belongs = number.dataset == table.dataset and number.protocol in protocols and number.method in table.methods
        if belongs and number.spread is None:
            found.setdefault(number.method, []).append(number)
    return found


def at_published_setting(track: TrackParams) -> bool:
    """Whether a track's values may be held against those published."""
    return isinstance(track, GraphTrack) and all(
        reduce(getattr, key.split("."), track) == value for key, value in SETTING.items()
    )


def beside(cells: Iterable[Cell]) -> list[Beside]:
    """Every published number of a setting that is run here, beside the cell that was measured; in the file's order.

    The ``cells`` are of tracks that are :func:`at_published_setting`.
    """
    by_place = {(cell.key.dataset, cell.key.protocol.name, cell.key.method): cell for cell in cells}
    found = []
    for number in published():
        cell = by_place.get((number.dataset, number.protocol, number.method))
        if number.spread is not None and cell is not None:
            places = {name: (number.dataset, number.protocol, name) for name in REFERENCES}
            references = {name: by_place[place] for name, place in places.items() if place in by_place}
            found.append(Beside(number, cell, references))
    return found


def beside_lines(found: Iterable[Beside]) -> list[list[str]]:
    """A heading, and a line for each number, as texts with code between backticks; nothing for no number."""
    shown = list(found)
    names = [name for name in REFERENCES if any(name in each.references for each in shown)]
    heads = [
        "data",
        "method",
        "published",
        "measured",
        "difference",
        "in spreads",
        "",
        *(f"`{name}`" for name in names),
    ]
    lines = []
    for each in shown:
        number, cell = each.published, each.cell
        sd = "" if cell.sd is None else f" ± {100 * cell.sd:.1f}"
        standing = "failed a sanity check" if cell.failed_checks else str(each.standing)
        texts = [number.dataset, f"`{number.method}`", f"{number.value:.1f} ± {number.spread:.1f}"]
        texts += [f"{100 * cell.mean:.1f}{sd} ({cell.seeds} seeds)", f"{each.difference:+.1f}", f"{each.units:+.1f}"]
        lines.append([*texts, standing, *(_mean(each.references.get(name)) for name in names)])
    return [heads, *lines] if lines else []


def beside_markdown(found: Iterable[Beside]) -> str:
    """The same as a table."""
    heads, *lines = beside_lines(found)
    rule = ["---", "---", *["---:"] * 4, "---", *["---:"] * (len(heads) - 7)]
    return "\n".join([*map(_line, [heads, rule, *lines]), "", READING, ""])


def _line(texts: list[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _mean(cell: Cell | None) -> str:
    return "" if cell is None else f"{100 * cell.mean:.1f}"
