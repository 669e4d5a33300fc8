"""A comparison for the terminal, and as Markdown, JSON and HTML."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader
from rich.console import Group
from rich.table import Table
from rich.text import Text

from contrastbench.reporting.cells import Cell
from contrastbench.reporting.compare import (
    BETTER,
    GONE,
    IDENTICAL,
    NEW,
    NOT_COMPARABLE,
    OUTCOMES,
    WORSE,
    Change,
    Comparison,
)
from contrastbench.reporting.render import FAILED, OLDER, value_text
from contrastbench.results.metrics import METRICS

COLOURS = {BETTER: "green", WORSE: "red", NEW: "yellow", GONE: "yellow", NOT_COMPARABLE: "yellow"}
SHOWN_PARAMETERS = 12


@dataclass(frozen=True)
class Field:
    """A column of the comparison.

    text   what it says of a cell
    key    the number that it sorts by; None where it sorts by its text
    kind   ``outcome``, ``name``, ``number`` or ``why``
    """

    name: str
    text: Callable[[Change], str]
    kind: str = "name"
    key: Callable[[Change], float | None] = lambda _: None


def fields_of(comparison: Comparison) -> list[Field]:
    """The columns; of two methods, which head their values, a column of methods would say nothing."""
    before, after = (comparison.before, comparison.after) if comparison.of_methods else ("before", "after")
    found = [
        Field("outcome", lambda change: change.outcome, "outcome", lambda change: OUTCOMES.index(change.outcome)),
        Field("track", lambda change: change.key.track),
        Field("data set", lambda change: change.key.dataset),
        Field("method", lambda change: change.key.method),
        Field("protocol", lambda change: change.key.protocol.name),
        Field("metric", lambda change: METRICS[change.key.metric].label),
        Field(before, lambda change: _value(change.before), "number", lambda change: _mean(change.before)),
        Field(after, lambda change: _value(change.after), "number", lambda change: _mean(change.after)),
        Field("difference", _difference, "number", lambda change: -change.harm),
        Field("95 % interval", _interval, "number", lambda change: change.interval and change.interval[0]),
        Field("p", _p_value, "number", lambda change: change.p_value),
        Field("why", lambda change: change.why, "why"),
    ]
    return [field for field in found if not (comparison.of_methods and field.name == "method")]


def _mean(cell: Cell | None) -> float | None:
    return None if cell is None else cell.mean


def summary(comparison: Comparison) -> list[str]:
    """One line each: outcomes, changed parameters, rows that name others, rows of other code."""
    counts = "; ".join(f"{count} {outcome}" for outcome in OUTCOMES if (count := comparison.count(outcome)))
    test = "paired test, Holm-corrected, 5 %; the intervals are not corrected"
    lines = [f"{len(comparison.changes)} cells: {counts} ({test})"]
    if comparison.of_methods:
        return [*lines, f"difference: {comparison.after} minus {comparison.before}"]
    if comparison.parameters is None:
        lines.append("parameters: cannot be compared")
    else:
        parameters = [f"{path} {old} to {new}" for path, (old, new) in comparison.parameters.items()]
        more = len(parameters) - SHOWN_PARAMETERS
        shown = "; ".join(parameters[:SHOWN_PARAMETERS]) + (f"; and {more} more" if more > 0 else "")
        lines.append(f"parameters: {shown or 'the same'}")
    numbers = comparison.counts.items()
    others = [f"{each.parameters} of {each.rows} of stage {stage}" for stage, each in numbers if each.parameters]
    code = [f"{each.code} of {each.rows} of stage {stage}" for stage, each in numbers if each.code]
    lines.append(f"rows with other parameters: {', '.join(others) or 'none'}")
    lines.append(f"rows of other code: {', '.join(code) or 'none'}")
    return lines


def _value(cell: Cell | None) -> str:
    if cell is None:
        return ""
    return value_text(cell) + f" {FAILED}" * bool(cell.failed_checks) + f" {OLDER}" * cell.older


def legend(changes: Sequence[Change]) -> str:
    """What the marks mean that occur in ``changes``; empty where none does."""
    cells = [cell for change in changes for cell in (change.before, change.after) if cell is not None]
    meanings = {
        FAILED: ("failed a sanity check", any(cell.failed_checks for cell in cells)),
        OLDER: ("not all seeds were made by the same code", any(cell.older for cell in cells)),
    }
    return "; ".join(f"{mark}: {meaning}" for mark, (meaning, occurs) in meanings.items() if occurs)


def _signed(change: Change, value: float) -> str:
    return f"{100 * value:+.1f}" if METRICS[change.key.metric].percent else f"{value:+.3f}"


def _difference(change: Change) -> str:
    return "" if change.difference is None else _signed(change, change.difference)


def _interval(change: Change) -> str:
    return "" if change.interval is None else " to ".join(_signed(change, end) for end in change.interval)


def _p_value(change: Change) -> str:
    if change.p_value is None:
        return ""
    return "<0.001" if change.p_value < 0.001 else f"{change.p_value:.3f}"


def as_terminal(comparison: Comparison, everything: bool) -> Group:
    """Something that a rich console prints; what a cell is about is one column, so that 100 characters suffice."""
    parts: list = [Text(line) for line in summary(comparison)]
    changes = comparison.shown(everything)
    if changes:
        outcome, *others = fields_of(comparison)
        names = [field for field in others if field.kind == "name"]
        rest = [field for field in others if field.kind != "name"]
        table = Table(title=comparison.title, caption=legend(changes))
        for name in ("outcome", ", ".join(field.name for field in names)):
            table.add_column(name, overflow="fold")
        for field in rest:
            table.add_column(field.name, justify="right" if field.kind == "number" else "left", overflow="fold")
        for change in changes:
            name = " ".join(field.text(change) for field in names)
            style = COLOURS.get(change.outcome, "")
            table.add_row(
                Text(outcome.text(change), style=style), Text(name), *(Text(field.text(change)) for field in rest)
            )
        parts.append(table)
    return Group(*parts)


def as_markdown(comparison: Comparison) -> str:
    """Summary as a list, cells as a table; those that are identical are folded."""
    changes = comparison.shown(everything=False)
    same = [change for change in comparison.changes if change.outcome == IDENTICAL]
    parts = [f"## {comparison.title}\n", *(f"- {line}" for line in summary(comparison))]
    if changes:
        parts += ["", *_grid(fields_of(comparison), changes)]
        parts += ["", legend(changes)] if legend(changes) else []
    if same:
        unsaid = ("outcome", "difference", "95 % interval", "p")
        fields = [field for field in fields_of(comparison) if field.name not in unsaid]
        parts += ["", f"<details><summary>{len(same)} identical</summary>", "", *_grid(fields, same), "", "</details>"]
    return "\n".join(parts) + "\n"


def _grid(fields: list[Field], changes: list[Change]) -> list[str]:
    rules = ["---:" if field.kind == "number" else "---" for field in fields]
    lines = [[field.text(change) for field in fields] for change in changes]
    return [_row([field.name for field in fields]), _row(rules), *map(_row, lines)]


def _row(texts: list[str]) -> str:
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
            "interval": change.interval,
            "p_value": change.p_value,
            "outcome": change.outcome,
            "why": change.why,
        }
        for change in comparison.shown(everything)
    ]
    parameters = comparison.parameters
    if parameters is not None:
        named = {path: {"before": old, "after": new} for path, (old, new) in parameters.items()}
    content: dict[str, Any] = {
        "title": comparison.title,
        "before": comparison.before,
        "after": comparison.after,
        "outcomes": {outcome: comparison.count(outcome) for outcome in OUTCOMES},
        "parameters": None if parameters is None else named,
        "rows": {
            stage: {"rows": each.rows, "other_parameters": each.parameters, "other_code": each.code}
            for stage, each in comparison.counts.items()
        },
        "problems": comparison.problems,
        "cells": cells,
    }
    return json.dumps(content, indent=1) + "\n"


def _numbers(cell: Cell | None) -> dict | None:
    if cell is None:
        return None
    return {
        "method": cell.key.method,
        "mean": cell.mean,
        "interval": cell.interval,
        "sd": cell.sd,
        "seeds": [row.seed for row in cell.rows],
        "n": cell.n,
        "failed_checks": cell.failed_checks,
        "one_code": not cell.older,
    }


def as_html(comparison: Comparison, everything: bool) -> str:
    """One page that needs nothing else: it sorts by a click, and filters by text and outcome."""
    environment = Environment(
        loader=PackageLoader("contrastbench.reporting"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    changes = comparison.shown(everything)
    return environment.get_template("compare.html").render(
        comparison=comparison,
        summary=summary(comparison),
        fields=fields_of(comparison),
        changes=changes,
        outcomes={outcome: count for outcome in OUTCOMES if (count := sum(c.outcome == outcome for c in changes))},
        legend=legend(changes),
    )
