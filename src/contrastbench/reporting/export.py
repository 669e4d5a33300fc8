"""Rows and tables for other programs."""

import json
from pathlib import Path

import pandas as pd

from contrastbench.errors import UserError
from contrastbench.files import replacing
from contrastbench.pipeline.grid import TARGETS
from contrastbench.reporting.render import as_frame, as_latex, as_markdown, differences_frame
from contrastbench.reporting.rendered import by_track, target_tables
from contrastbench.results.load import Loaded

FORMATS = ("csv", "differences", "markdown", "latex", "parquet")


def tables_text(loaded: Loaded, presets: list[str], form: str) -> str:
    """All tables of ``presets`` in one text: ``csv``, ``differences``, ``markdown`` or ``latex``."""
    tables = {
        (preset, track): {target: target_tables(rows, preset, track, target) for target in TARGETS}
        for preset in presets
        for track, rows in by_track(loaded, preset).items()
    }
    if form == "latex":
        return "\n".join(
            as_latex(group, f"{preset}-{track}" if target == "methods" else f"{preset}-{track}-{target}")
            for (preset, track), groups in tables.items()
            for target, group in groups.items()
            if group
        )
    together = {place: [table for group in groups.values() for table in group] for place, groups in tables.items()}
    if form == "markdown":
        return "\n".join(as_markdown(group, f"{track}, preset {preset}") for (preset, track), group in together.items())
    frame = as_frame if form == "csv" else differences_frame
    frames = [frame(group).assign(preset=preset, track=track) for (preset, track), group in together.items()]
    return pd.concat(frames).to_csv(index=False, lineterminator="\n") if frames else ""


def rows_frame(loaded: Loaded) -> pd.DataFrame:
    """One line per row; the parts of its protocol and its interval become columns, ``detail`` JSON text."""
    lines = []
    for row in loaded.rows:
        content = row.model_dump(by_alias=True, mode="json")
        parts = {f"protocol_{part}": value for part, value in content.pop("protocol").items()}
        low, high = content.pop("interval") or (None, None)
        detail = json.dumps(content.pop("detail"))
        ends = {"interval_low": low, "interval_high": high}
        lines.append({**content, "protocol": row.protocol.name, **parts, **ends, "detail": detail})
    return pd.DataFrame(lines)


def write_parquet(path: Path, loaded: Loaded) -> None:
    """All rows as one parquet file."""
    if not loaded.rows:
        raise UserError("no result rows to export")
    with replacing(path) as temporary:
        rows_frame(loaded).to_parquet(temporary, index=False)
