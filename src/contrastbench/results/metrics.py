"""What each metric means to a reader: its name, its direction and how it is written."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """How values of one metric are read.

    label             name in tables
    higher_is_better  direction of better; None where a value describes, and neither is better
    percent           whether values are shares, which are written in per cent
    """

    label: str
    higher_is_better: bool | None
    percent: bool

    def text(self, value: float) -> str:
        """``value`` as a table shows it, without a unit."""
        return f"{100 * value:.1f}" if self.percent else f"{value:.3f}"


METRICS: dict[str, Metric] = {
    "top1": Metric("top-1 %", higher_is_better=True, percent=True),
    "robust-top1": Metric("robust top-1 %", higher_is_better=True, percent=True),
    "median-distance": Metric("median l2 distance to an error", higher_is_better=True, percent=False),
    "cosine": Metric("cosine", higher_is_better=None, percent=False),
    "norm-ratio": Metric("norm ratio", higher_is_better=None, percent=False),
    "false-negatives": Metric("false negatives %", higher_is_better=None, percent=True),
    "effective-share": Metric("effective share %", higher_is_better=None, percent=True),
}
