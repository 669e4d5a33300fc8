"""A comparison for the terminal, and as Markdown, JSON and HTML."""

import json

from jinja2 import Environment, PackageLoader
from rich.console import Group
from rich.table import Table
from rich.text import Text

from contrastbench.reporting.cells import Cell
from contrastbench.reporting.compare import BETTER, GONE, NEW, NOT_COMPARABLE, SAME, WORSE, Change, Comparison
from contrastbench.reporting.render import value_text
from contrastbench.results.metrics import METRICS

HEADER = ("data set", "protocol", "metric", "method", "before", "after", "difference", "p", "verdict", "why")
COLOURS = {BETTER: "green", WORSE: "red", NEW: "yellow", GONE: "yellow", NOT_COMPARABLE: "yellow", SAME: ""}
SHOWN_PARAMETERS = 12


def summary(comparison: Comparison) -> list[str]:
    """One line each: verdicts, changed parameters, changed code."""
    counts = ", ".join(f"{comparison.count(verdict)} {verdict}" for verdict in COLOURS if comparison.count(verdict))
    lines = [f"{len(comparison.changes)} cells: {counts} (paired test, Holm-corrected, 5 %)"]
    parameters = [f"{path} {old} to {new}" for path, (old, new) in comparison.parameters.items()]
    more = len(parameters) - SHOWN_PARAMETERS
    shown = "; ".join(parameters[:SHOWN_PARAMETERS]) + (f"; and {more} more" if more > 0 else "")
    lines.append(f"params: {shown or 'unchanged'}")
    code = [f"{some} of {total} rows of stage {stage}" for stage, (some, total) in comparison.code.items()]
    lines.append(f"code: {'changed behind ' + ', '.join(code) if code else 'unchanged'}")
    return lines


def lines_of(changes: list[Change]) -> list[tuple[str, ...]]:
    """One tuple of texts a cell, in the order of ``HEADER``."""
    return [
        (
            change.key.dataset,
            change.key.protocol.name,
            METRICS[change.key.metric].label,
            change.key.method,
            _value(change.before),
            _value(change.after),
            _difference(change),
            "" if change.p_value is None else _p_value(change.p_value),
            change.verdict,
            change.why,
        )
        for change in changes
    ]


def _value(cell: Cell | None) -> str:
    return "" if cell is None else value_text(cell)


def _difference(change: Change) -> str:
    if change.difference is None:
        return ""
    return f"{100 * change.difference:+.1f}" if METRICS[change.key.metric].percent else f"{change.difference:+.3f}"


def _p_value(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def as_terminal(comparison: Comparison, everything: bool) -> Group:
    """Something that a rich console prints."""
    parts: list = [Text(line) for line in summary(comparison)]
    lines = lines_of(comparison.shown(everything))
    if lines:
        table = Table(title=f"{comparison.before} against {comparison.after}")
        for name in HEADER:
            number = name in ("before", "after", "difference", "p")
            table.add_column(name, justify="right" if number else "left", overflow="fold", no_wrap=number)
        for line in lines:
            table.add_row(
                *(Text(text, style=COLOURS[line[8]] if index == 8 else "") for index, text in enumerate(line))
            )
        parts.append(table)
    return Group(*parts)


def as_markdown(comparison: Comparison, everything: bool) -> str:
    """Summary as a list, cells as a table."""
    parts = [f"## {comparison.before} against {comparison.after}\n"]
    parts += [f"- {line}" for line in summary(comparison)]
    lines = lines_of(comparison.shown(everything))
    if lines:
        parts += ["", _row(HEADER), _row(("---",) * len(HEADER)), *map(_row, lines)]
    return "\n".join(parts) + "\n"


def _row(texts: tuple[str, ...]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"


def as_json(comparison: Comparison, everything: bool) -> str:
    """Everything at full precision."""
    cells = [
        change.key._asdict()
        | {"protocol": change.key.protocol.name}
        | {
            "before": _numbers(change.before),
            "after": _numbers(change.after),
            "difference": change.difference,
            "p_value": change.p_value,
            "verdict": change.verdict,
            "why": change.why,
        }
        for change in comparison.shown(everything)
    ]
    content = {
        "before": comparison.before,
        "after": comparison.after,
        "counts": {verdict: comparison.count(verdict) for verdict in COLOURS},
        "params": {path: {"before": old, "after": new} for path, (old, new) in comparison.parameters.items()},
        "code": {stage: {"changed": some, "rows": total} for stage, (some, total) in comparison.code.items()},
        "problems": comparison.problems,
        "cells": cells,
    }
    return json.dumps(content, indent=1) + "\n"


def _numbers(cell: Cell | None) -> dict | None:
    if cell is None:
        return None
    return {"mean": cell.mean, "sd": cell.spread, "seeds": [row.seed for row in cell.rows], "n": cell.n}


def as_html(comparison: Comparison, everything: bool) -> str:
    """One page without any script."""
    environment = Environment(loader=PackageLoader("contrastbench.reporting"), autoescape=True)
    return environment.get_template("compare.html").render(
        comparison=comparison,
        summary=summary(comparison),
        header=HEADER,
        lines=lines_of(comparison.shown(everything)),
    )
