"""Tables as CSV (one line per cell), Markdown and LaTeX (booktabs)."""

import math
import re
from collections.abc import Iterable, Iterator
from textwrap import wrap

import pandas as pd

from contrastbench.reporting.cells import Cell, Column
from contrastbench.reporting.published import HEADING, published_for
from contrastbench.reporting.tables import BEST, TIED, Difference, Table
from contrastbench.results.metrics import METRICS

# What fits on a page in LaTeX: columns of values side by side, characters of a line of a heading and of what changed.
PAGE_COLUMNS, HEADING_LINE, CHANGES_LINE = 4, 18, 60
# A table that is wider or higher than a page is made smaller.
LATEX_HEAD = r"""% \usepackage{booktabs,graphicx}
\providecommand{\fitpage}[1]{%
  \resizebox*{!}{\ifdim\totalheight>.8\textheight .8\textheight\else\totalheight\fi}{%
    \resizebox{\ifdim\width>\linewidth \linewidth\else\width\fi}{!}{#1}}}
"""
FAILED, TIE, OLDER = "⚠", "≈", "†"
LEGEND = (
    "Mean over seeds [95 % interval], for other seeds and other test examples together (of one seed: for other "
    "examples only); the variance over seeds is pooled over the column's methods. **Bold**: significantly better than "
    f"every other method of the column; {TIE}: not significantly worse than its best (paired over seeds and test "
    "examples, Holm-corrected over the table, pairs with a reference row, of which nothing was learned, apart, 5 %). "
    f"{FAILED}: failed a sanity check, see below the table; takes no part in the comparison."
)
OTHER_N = "Cells that name another n rest on another number of examples, and take no part in the comparison."
MADE_BY_OLDER = "not all of its rows were made by the present code of their stages"


def legend(tables: Iterable[Table]) -> str:
    """What the marks in ``tables`` mean."""
    return " ".join([LEGEND, *notes(tables)])


def notes(tables: Iterable[Table]) -> list[str]:
    """What is to be said only where ``tables`` have such cells."""
    shown = list(tables)
    other_n = any(table.other_n(*place) for table in shown for place in table.cells)
    older = any(table.has_older for table in shown)
    return [OTHER_N] * other_n + [f"{OLDER}: {MADE_BY_OLDER}."] * older


def as_frame(tables: list[Table]) -> pd.DataFrame:
    """One line per cell, full precision."""
    return pd.DataFrame(
        [
            {
                "dataset": column.dataset,
                "family": table.group.title,
                "protocol": column.protocol.name,
                "metric": column.metric,
                "method": method,
                "changes": table.changes.get(method, ""),
                "mean": cell.mean,
                "low": cell.interval and cell.interval[0],
                "high": cell.interval and cell.interval[1],
                "sd": cell.sd,
                "seeds": cell.seeds,
                "n": cell.n,
                "mark": table.marks.get((method, column), ""),
                "failed_checks": "; ".join(cell.failed_checks),
                "older_code": cell.older,
            }
            for table in tables
            for column in table.columns
            for method in table.methods
            if (cell := table.cells.get((method, column))) is not None
        ]
    )


def differences_frame(tables: list[Table]) -> pd.DataFrame:
    """One line per two methods of a column that are compared, full precision: ``first`` minus ``second``."""
    return pd.DataFrame(
        [
            {
                "dataset": each.column.dataset,
                "family": table.group.title,
                "protocol": each.column.protocol.name,
                "metric": each.column.metric,
                "first": each.first,
                "second": each.second,
                "difference": each.paired.difference,
                "low": each.paired.interval and each.paired.interval[0],
                "high": each.paired.interval and each.paired.interval[1],
                "p_value": each.paired.p_value,
                "p_holm": each.adjusted,
                "test": each.paired.test,
            }
            for table in tables
            for each in table.differences
        ]
    )


def difference_text(difference: Difference) -> str:
    """``+1.2 [-0.3, +2.7]``, as the metric is written."""
    factor, digits = (100, 1) if METRICS[difference.column.metric].percent else (1, 3)
    numbers = [difference.paired.difference, *(difference.paired.interval or ())]
    first, *ends = [f"{factor * number:+.{digits}f}" for number in numbers]
    return first + (f" [{', '.join(ends)}]" if ends else "")


def as_csv(tables: list[Table]) -> str:
    """CSV with full precision; an absent interval or deviation is empty."""
    return as_frame(tables).to_csv(index=False, lineterminator="\n")


def as_markdown(tables: list[Table], heading: str = "") -> str:
    """All tables with the sentence on how to read them, and the legend once."""
    parts = [f"# {heading}\n"] if heading else []
    parts += [legend(tables) + "\n"]
    for table in tables:
        parts += [f"## {table.title}\n", f"{table.group.reading} {table.seeds}.\n", markdown_grid(table)]
    return "\n".join(parts)


def markdown_grid(table: Table) -> str:
    """The bare Markdown table, and below it which sanity checks failed."""
    noted = ["changes"] * bool(table.changes)
    header = ["method", *noted, *(f"{column.protocol.name}<br>{_caption(table, column)}" for column in table.columns)]
    rule = ["---", *["---"] * len(noted), *["---:"] * len(table.columns)]
    elsewhere = published_for(table)
    if elsewhere:
        header.append(HEADING)
        rule.append("---")
    lines = [_line(header), _line(rule)]
    for method in table.methods:
        beside = [table.changes.get(method, "")] * len(noted)
        cells = (_markdown_cell(table, method, column) for column in table.columns)
        texts = [f"`{method}`{table.note(method)}", *beside, *cells]
        if elsewhere:
            texts.append("<br>".join(number.text for number in elsewhere.get(method, [])))
        lines.append(_line(texts))
    lines.append("")
    lines += [f"{FAILED} {line}: {', '.join(where)}\n" for line, where in table.failures().items()]
    return "\n".join(lines)


def as_latex(tables: list[Table], name: str) -> str:
    """A ``table`` for each table, several where its columns do not fit a page; ``name`` begins each label.

    They may be input together: LaTeX is told how many floats there are.
    """
    parts = [part for table in tables for part in _latex_parts(table, name)]
    return "\n".join([LATEX_HEAD + rf"\extrafloats{{{len(parts)}}}", "", *parts])


def value_text(cell: Cell) -> str:
    """``96.1 [94.8, 97.0]``; the mean alone where nothing tells how uncertain it is."""
    metric = METRICS[cell.key.metric]
    ends = "" if cell.interval is None else f" [{', '.join(metric.text(end) for end in cell.interval)}]"
    return metric.text(cell.mean) + ends


def cell_text(table: Table, method: str, column: Column) -> str:
    """The value, and its number of test examples where that is not what the heading says."""
    other = table.other_n(method, column)
    return value_text(table.cells[method, column]) + (f" (n = {other})" if other else "")


def _caption(table: Table, column: Column) -> str:
    return f"{METRICS[column.metric].label}, n = {table.n(column)}"


def _line(texts: list[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"


def _markdown_cell(table: Table, method: str, column: Column) -> str:
    cell = table.cells.get((method, column))
    if cell is None:
        return ""
    text = cell_text(table, method, column)
    mark = table.marks.get((method, column))
    if mark == BEST:
        text = f"**{text}**"
    elif mark == TIED:
        text += f" {TIE}"
    return text + f" {FAILED}" * bool(cell.failed_checks) + f" {OLDER}" * cell.older


def _latex_parts(table: Table, name: str) -> Iterator[str]:
    label = re.sub(r"[^a-z0-9]+", "-", f"{name}-{table.title}".lower())
    caption = latex_escape(f"{table.title}. {table.seeds}.") + r" In brackets: 95\,\% interval over seeds and test "
    caption += "examples. Bold: significantly best; "
    caption += r"$\approx$: not significantly worse than the best; $\ast$: failed a sanity check."
    if table.has_older:
        caption += rf" $\dagger$: {MADE_BY_OLDER}."
    parts = math.ceil(len(table.columns) / (PAGE_COLUMNS // (1 + bool(table.changes))))
    size = math.ceil(len(table.columns) / parts)
    for number in range(parts):
        columns = table.columns[number * size : (number + 1) * size]
        if number > 0:
            caption = rf"{latex_escape(table.title)}. Part {number + 1} of {parts} of table~\ref{{tab:{label}}}."
        suffix = f"-{number + 1}" if number > 0 else ""
        yield "\n".join(
            [
                r"\begin{table}",
                r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
                rf"\caption{{{caption}}}",
                rf"\label{{tab:{label}{suffix}}}",
                r"\fitpage{%",
                _tabular(table, columns).rstrip() + "}",
                r"\end{table}" + "\n",
            ]
        )


def _tabular(table: Table, columns: Iterable[Column]) -> str:
    body = {"method": [latex_escape(method + table.note(method)) for method in table.methods]}
    if table.changes:
        body["changes"] = [_stacked("l", wrap(table.changes.get(method, ""), CHANGES_LINE)) for method in table.methods]
    for column in columns:
        label = f"({METRICS[column.metric].label})"
        heading = _stacked("r", [*wrap(column.protocol.name, HEADING_LINE, break_long_words=False), label])
        body[heading] = [_latex_cell(table, method, column) for method in table.methods]
    alignment = "l" * (1 + bool(table.changes)) + "r" * (len(body) - 1 - bool(table.changes))
    return pd.DataFrame(body).to_latex(index=False, escape=False, column_format=alignment)


def _stacked(side: str, lines: list[str]) -> str:
    """Lines below each other in one cell."""
    if len(lines) < 2:
        return latex_escape("".join(lines))
    return rf"\begin{{tabular}}[b]{{@{{}}{side}@{{}}}}" + r"\\{}".join(map(latex_escape, lines)) + r"\end{tabular}"


def _latex_cell(table: Table, method: str, column: Column) -> str:
    cell = table.cells.get((method, column))
    if cell is None:
        return ""
    text = cell_text(table, method, column)
    mark = table.marks.get((method, column))
    if mark == BEST:
        text = rf"\textbf{{{text}}}"
    elif mark == TIED:
        text += r" $\approx$"
    return text + r" $\ast$" * bool(cell.failed_checks) + r" $\dagger$" * cell.older


def latex_escape(text: str) -> str:
    """``text`` with LaTeX's special characters escaped."""
    special = {character: f"\\{character}" for character in "&%$#_{}"}
    special |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(character, character) for character in text)
