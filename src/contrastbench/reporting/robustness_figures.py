"""Figures of the robustness suite: which attack broke what, the transfer matrix."""

import plotly.graph_objects as go

from contrastbench.pipeline.stages import group_of
from contrastbench.reporting.cells import Cell, Key
from contrastbench.reporting.figures import Chart, place, styled
from contrastbench.results.metrics import METRICS
from contrastbench.results.order import natural


def attack_heatmap(cells: dict[Key, Cell]) -> list[Chart]:
    """Methods against attacks on the linear (or own) head: brighter where accuracy is higher."""
    charts = []
    chosen = {
        key: cell
        for key, cell in cells.items()
        if METRICS[key.metric].percent and not key.is_variant and group_of(key.protocol).heat
    }
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
    return styled(figure, 120 + 28 * len(rows)).update_layout(margin={"l": 20, "t": 60, "b": 10})
