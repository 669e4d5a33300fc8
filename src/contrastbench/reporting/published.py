"""Published numbers of baselines, shown in a column of their own: other setting, other code, never a target.

The systems that this suite re-implements have none here: no source gives a number that can be compared.
"""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from contrastbench.reporting.tables import Table

HEADING = "published, other setting"
WITHOUT_NUMBERS = ("unremix", "swaro", "uamix-mae")


@dataclass(frozen=True)
class Published:
    """One number of ``published.csv``, in per cent, with the setting and the source that gives it."""

    dataset: str
    protocol: str
    method: str
    value: float
    setting: str
    source: str

    @property
    def text(self) -> str:
        """``linear 91.1 (ResNet-50, batch 256; liubin06/BCL README)``."""
        return f"{self.protocol} {self.value:.1f} ({self.setting}; {self.source})"


@cache
def published() -> tuple[Published, ...]:
    """Everything in ``published.csv``; ValueError if it holds a number for a system re-implemented here."""
    text = (files("contrastbench.reporting") / "published.csv").read_text(encoding="utf-8")
    numbers = []
    for line in csv.DictReader(text.splitlines()):
        if line["method"] in WITHOUT_NUMBERS:
            raise ValueError(f"published.csv: {line['method']} has no published number")
        numbers.append(Published(**{**line, "value": float(line["value"])}))  # type: ignore[arg-type]
    return tuple(numbers)


def published_for(table: Table) -> dict[str, list[Published]]:
    """The numbers that belong to a table's data set and protocols, by method; empty where there are none."""
    protocols = {column.protocol.name for column in table.columns}
    found: dict[str, list[Published]] = {}
    for number in published():
        if number.dataset == table.dataset and number.protocol in protocols and number.method in table.methods:
            found.setdefault(number.method, []).append(number)
    return found
