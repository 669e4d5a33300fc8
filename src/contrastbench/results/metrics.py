"""What each metric means to a reader: its name, its direction and how it is written."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """How values of one metric are read.

    label             name in tables
    higher_is_better  direction of better
    percent           whether values are shares, which are written in per cent
    """

    label: str
    higher_is_better: bool
    percent: bool

    def text(self, value: float) -> str:
        """``value`` as a table shows it, without a unit."""
        return f"{100 * value:.1f}" if self.percent else f"{value:.3f}"


METRICS: dict[str, Metric] = {
    "top1": Metric("top-1 %", higher_is_better=True, percent=True),
    "robust-top1": Metric("robust top-1 %", higher_is_better=True, percent=True),
    "median-distance": Metric("median l2 distance to an error", higher_is_better=True, percent=False),
}
