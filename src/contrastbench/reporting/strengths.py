"""Choices at the edge of what was offered: inverse L2 strengths of linear classifiers, chosen on validation data."""

from collections import Counter

from contrastbench.params.track import TrackParams
from contrastbench.pipeline.stages import STAGES
from contrastbench.results.load import Loaded


def at_the_edge(loaded: Loaded, track: TrackParams) -> list[str]:
    """A line for each edge of a stage's ``l2_grid`` that classifiers chose: a wider grid might have been better."""
    chosen = {
        (row.stage, row.dataset, row.method, row.seed, row.protocol.head): row.detail["C"]
        for row in loaded.rows
        if "C" in row.detail
    }
    lines = []
    for stage in dict.fromkeys(stage for stage, *_ in chosen):
        counts = Counter(strength for (name, *_), strength in chosen.items() if name == stage)
        for section in STAGES[stage].sections:
            grid = getattr(getattr(track, section), "l2_grid", None)
            lines += [
                f"{stage}: C = {edge:g}, the edge of {section}.l2_grid, in {counts[edge]} of {counts.total()} choices"
                for edge in (dict.fromkeys((min(grid), max(grid))) if grid else ())
                if counts[edge]
            ]
    return lines
