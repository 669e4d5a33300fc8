"""The report's list of contents: it is made of the headings as the page names them, so that none can be missing."""

import re
from dataclasses import dataclass, field


@dataclass
class Heading:
    """A heading of the page with its anchor and those below it."""

    title: str
    anchor: str
    below: list["Heading"] = field(default_factory=list)


@dataclass
class Contents:
    """The headings so far; every anchor is one of a kind."""

    top: list[Heading] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._open: list[Heading] = []  # the last heading of each level
        self._taken: set[str] = {"contents"}

    def add(self, level: int, title: str, name: str = "") -> str:
        """Note a heading of level 1, 2, ... and return its anchor: that of the heading above it, then its name."""
        del self._open[level - 1 :]
        above = self._open[-1:]
        slug = re.sub(r"\W+", "-", (name or title).lower()).strip("-")
        wanted = "-".join([*(each.anchor for each in above), slug or "part"])
        anchor, number = wanted, 1
        while anchor in self._taken:
            number += 1
            anchor = f"{wanted}-{number}"
        self._taken.add(anchor)
        heading = Heading(title, anchor)
        (above[0].below if above else self.top).append(heading)
        self._open.append(heading)
        return anchor
