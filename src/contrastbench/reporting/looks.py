"""How figures tell methods apart: a colour, a dash and a marker each, and the key that names them beside the plot."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import plotly.graph_objects as go

from contrastbench.reporting.cells import REGISTERED

Each = TypeVar("Each")
# Each stands out from white and from the dark page (a ratio of 3 at least).
PALETTE = (
    "#3d7cc9",
    "#cc6b14",
    "#208a80",
    "#d0435b",
    "#9a7b12",
    "#9a62b5",
    "#4b9140",
    "#d05d93",
    "#6c7f92",
    "#1593b5",
    "#8d6e58",
)
DASHES = ("solid", "8px,3px", "2px,3px", "8px,3px,2px,3px", "14px,4px")  # the latter as plotly and SVG both read them
# Plotly's name of a marker, and how the key draws it, around the middle of its box.
MARKERS = {
    "circle": "m-3 0a3 3 0 0 0 6 0a3 3 0 0 0 -6 0",
    "square": "m-3 -3h6v6h-6z",
    "diamond": "m-4 0l4 -4l4 4l-4 4z",
    "triangle-up": "m-4 3l4 -7l4 7z",
    "triangle-down": "m-4 -3l4 7l4 -7z",
    "cross": "m-1 -4h2v3h3v2h-3v3h-2v-3h-3v-2h3z",
}


@dataclass(frozen=True)
class Look:
    """A line's colour, its dash (one of ``DASHES``) and its marker (one of ``MARKERS``)."""

    colour: str
    dash: str
    marker: str

    def drawn(self, width: float = 2) -> dict[str, Any]:
        """As arguments of a plotly line."""
        line = {"color": self.colour, "dash": self.dash, "width": width}
        return {"line": line, "marker": {"symbol": self.marker, "size": 7}}


def looks(methods: Iterable[str]) -> dict[str, Look]:
    """One look per method, in the figure's order; no colour twice while there are others, no look twice at all.

    A method's place in the registry chooses, so that it mostly looks the same in all figures.
    """
    found: dict[str, Look] = {}
    for number, method in enumerate(sorted(set(methods), key=place)):
        start = REGISTERED.index(method) if method in REGISTERED else len(REGISTERED) + number
        colours = Counter(look.colour for look in found.values())
        colour = min(_from(PALETTE, start), key=colours.__getitem__)
        beside = Counter(look.dash for look in found.values() if look.colour == colour)
        dash = min(_from(DASHES, start), key=beside.__getitem__)
        found[method] = Look(colour, dash, _from([*MARKERS], start)[0])
    return found


def _from(options: Sequence[Each], start: int) -> list[Each]:
    """All of them, from the one at ``start`` on, around."""
    first = start % len(options)
    return [*options[first:], *options[:first]]


def place(method: str) -> tuple[int, str]:
    """Registry order; variants come last."""
    return (REGISTERED.index(method) if method in REGISTERED else len(REGISTERED), method)


@dataclass(frozen=True)
class Entry:
    """One name of a figure's key, as plotly has it, which reads tags, and its look; dash or marker may be empty."""

    name: str
    colour: str
    dash: str
    marker: str


def entries(figure: go.Figure) -> list[Entry]:
    """The key of a figure: each name that its traces have, once."""
    found: dict[str, Entry] = {}
    for trace in figure.data:
        if trace.name is not None and trace.name not in found:
            mode = trace.mode if trace.type == "scatter" else ""
            colour = trace.line.color if "lines" in mode else trace.marker.color
            marker = MARKERS[trace.marker.symbol or "circle"] if "markers" in mode else ""
            found[trace.name] = Entry(trace.name, colour, trace.line.dash if "lines" in mode else "", marker)
    return list(found.values())
