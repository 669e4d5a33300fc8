"""Figures of the robustness suite: attacks, corruptions under each head, the transfer matrix, sensitivity to C."""

from statistics import fmean

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from contrastbench.pipeline.stages import GROUPS, OTHER, group_of
from contrastbench.reporting.cells import Cell, Key
from contrastbench.reporting.figures import BOTTOM, TOP, Chart, styled
from contrastbench.reporting.looks import looks, place
from contrastbench.results.metrics import METRICS
from contrastbench.results.order import natural
from contrastbench.results.rows import Row


def attack_heatmap(cells: dict[Key, Cell]) -> list[Chart]:
    """Methods against attacks on the linear (or own) head: brighter where accuracy is higher."""
    charts = []
    chosen = {key: cell for key, cell in cells.items() if METRICS[key.metric].percent and group_of(key.protocol).heat}
    for dataset in dict.fromkeys(key.dataset for key in chosen):
        here = {(key.method, key.protocol.name): cell for key, cell in chosen.items() if key.dataset == dataset}
        if len({protocol for _, protocol in here}) < 2:
            continue
        protocols = sorted({protocol for _, protocol in here}, key=lambda name: (name != "clean", natural(name)))
        charts.append(
            Chart(
                f"Which attack broke what: {dataset}",
                "Accuracy in per cent, mean over seeds. The lowest number of a column of bounded attacks of one radius "
                "is the one to believe: an attack can only overstate robustness.",
                _heatmap(here, sorted({method for method, _ in here}, key=place), protocols),
            )
        )
    return charts


def corruptions_by_head(cells: dict[Key, Cell]) -> list[Chart]:
    """Methods against heads: the mean accuracy under common corruptions, where a data set has it for several heads."""
    groups: dict[str, dict[tuple[str, str], Cell]] = {}
    found = [key for key in cells if key.protocol.family == "corrupted"]
    for key in sorted(found, key=lambda key: [*GROUPS, OTHER].index(group_of(key.protocol))):  # heads as in the tables
        groups.setdefault(key.dataset, {})[key.method, (key.protocol.head or "standard").upper()] = cells[key]
    charts = []
    for dataset, here in groups.items():
        heads = list(dict.fromkeys(head for _, head in here))
        if len(heads) > 1:
            methods = sorted({method for method, _ in here}, key=place)
            charts.append(
                Chart(
                    f"Common corruptions, head by head: {dataset}",
                    "Accuracy in per cent, mean over kinds, severities and seeds. STANDARD: a linear head fitted on "
                    "clean images (slf), or a supervised method's own classifier.",
                    _heatmap(here, methods, heads),
                )
            )
    return charts


def transfer_matrix(cells: dict[Key, Cell]) -> list[Chart]:
    """Source against target of transferred perturbations."""
    groups: dict[tuple[str, float], dict[tuple[str, str], Cell]] = {}
    for key, cell in cells.items():
        eps, source = key.protocol.eps, key.protocol.source
        if eps is not None and source is not None:
            groups.setdefault((key.dataset, eps), {})[key.method, source] = cell
    charts = []
    for (dataset, eps), here in groups.items():
        methods = sorted({name for pair in here for name in pair}, key=place)
        charts.append(
            Chart(
                f"Transfer of attacks on {dataset}, radius {eps:.4g}",
                "Column: the method that the perturbation was made against. Row: the method that it is shown to. "
                "Accuracy in per cent; the diagonal is the white-box attack.",
                _heatmap(here, methods, methods, "made against"),
            )
        )
    return charts


def sensitivity_to_strength(cells: dict[Key, Cell]) -> list[Chart]:
    """What every strength of the standard linear head would have kept of the validation images: a line per method."""
    groups: dict[tuple[str, str], dict[str, Cell]] = {}
    for key, cell in cells.items():
        if key.protocol.family == "clean" and any(_by_strength(row) for row in cell.rows):
            groups.setdefault((key.dataset, key.protocol.head or ""), {})[key.method] = cell
    return [
        Chart(
            f"Sensitivity to C of the linear head{f', {head.upper()}' * bool(head)}: {dataset}",
            "Accuracy on validation images for every C (inverse strength of the l2 penalty), under the attack that "
            "decides on C and without it; means over seeds. The larger a marker, the more seeds chose that C.",
            _over_strengths(lines),
        )
        for (dataset, head), lines in groups.items()
    ]


def _by_strength(row: Row) -> dict[float, tuple[float, float]]:
    """Accuracy on clean and on attacked validation images by C; empty where the row's head has none."""
    return {float(strength): tuple(both) for strength, both in row.detail.get("by_C", {}).items()}


def _over_strengths(lines: dict[str, Cell]) -> go.Figure:
    figure = make_subplots(1, 2, subplot_titles=["under the attack", "clean"], shared_yaxes=True)
    for method, look in looks(lines).items():
        rows = lines[method].rows
        found = [_by_strength(row) for row in rows]
        strengths = sorted(set().union(*found))
        votes = [sum(row.detail.get("C") == strength for row in rows) for strength in strengths]
        for column, which in ((1, 1), (2, 0)):
            values = [fmean(each[strength][which] for each in found if strength in each) for strength in strengths]
            figure.add_scatter(
                x=strengths,
                y=[round(100 * value, 2) for value in values],
                name=method,
                mode="lines+markers",
                line=look.drawn(1.5)["line"],
                marker={"symbol": look.marker, "size": [4 + 8 * count / len(rows) for count in votes]},
                row=1,
                col=column,
            )
    figure.update_annotations(font_size=13)
    figure.update_xaxes(type="log", title_text="C", exponentformat="power").update_yaxes(title_text="accuracy %", col=1)
    return styled(figure)


def _heatmap(cells: dict[tuple[str, str], Cell], across: list[str], down: list[str], axis: str = "") -> go.Figure:
    """Cells by (first, second): the first names become columns if there are fewer, so that it fits a phone."""
    matrix = [[cells.get((first, second)) for second in down] for first in across]
    rows, columns = across, down
    if not axis:  # attacks below each other, methods side by side
        matrix, rows, columns = [list(line) for line in zip(*matrix, strict=True)], down, across
    values = [[None if cell is None else round(100 * cell.mean, 2) for cell in line] for line in matrix]
    figure = go.Figure(
        go.Heatmap(
            z=values,
            x=columns,
            y=rows,
            texttemplate="%{z:.0f}",
            colorscale="Viridis",
            zmin=0,
            zmax=100,
            xgap=1,
            ygap=1,
            showscale=False,
        )
    )
    figure.update_yaxes(autorange="reversed", dtick=1, automargin=True, showgrid=False)
    figure.update_xaxes(title_text=axis, side="top", dtick=1, automargin=True, showgrid=False)
    return styled(figure, 28 * len(rows)).update_layout(margin={"l": 20, "t": TOP + BOTTOM - 10, "b": 10})
