"""Robust accuracy against the cost of training."""

from contrastbench.params.track import TrackParams
from contrastbench.reporting.cells import Cell
from contrastbench.reporting.cost import COUNTED, trainings
from contrastbench.reporting.figures import BARS, Chart, accuracy_lines
from contrastbench.results.load import Loaded


def cost_lines(loaded: Loaded, track: TrackParams) -> list[Chart]:
    """Over image passes, and over seconds: one line per method through its lengths of training."""
    charts = []
    for dataset, found in trainings(loaded, track).items():
        for axis, cost in (("image passes", "passes"), ("wall seconds", "seconds")):
            lines: dict[str, list[tuple[float, Cell]]] = {}
            for each in found:
                lines.setdefault(each.line, []).append((getattr(each, cost), each.robust))
            figure = accuracy_lines(lines, f"{axis} of training").update_xaxes(type="log")
            title = f"{found[0].robust.key.protocol.name} on {dataset} against the {axis} of training"
            charts.append(Chart(title, f"Each method at several lengths of training. {COUNTED} {BARS}", figure))
    return charts
