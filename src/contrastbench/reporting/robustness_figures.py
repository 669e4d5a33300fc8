"""Figures of the robustness suite: accuracy over the radius, which attack broke what, the transfer matrix."""

import re

import plotly.graph_objects as go

from contrastbench.reporting.cells import Cell, Key, is_variant, method_order, natural
from contrastbench.reporting.figures import Chart, accuracy_lines, styled

HEADS = {"": "", "alf-": " (ALF)", "aff-": " (AFF)"}


def eps_curves(cells: dict[Key, Cell]) -> list[Chart]:
    """Accuracy over the radius for every attack with several radii; clean accuracy stands at 0."""
    groups: dict[tuple[str, str, str], dict[str, list[tuple[float, Cell]]]] = {}
    for key, cell in cells.items():
        found = re.fullmatch(r"(alf-|aff-)?(.+)@([\d.e+-]+)", key.protocol)
        if key.metric == "robust-top1" and found and not found[2].startswith("transfer-from"):
            lines = groups.setdefault((key.dataset, found[1] or "", found[2]), {})
            lines.setdefault(key.method, []).append((float(found[3]), cell))
    charts = []
    for (dataset, head, attack), lines in groups.items():
        if max(len(points) for points in lines.values()) < 2:
            continue
        for method, points in lines.items():
            clean = cells.get(Key(*points[0][1].key[:2], dataset, f"{head}clean", "top1", method))
            if clean is not None:
                points.append((0.0, clean))
        charts.append(
            Chart(
                f"{attack}{HEADS[head]} on {dataset}",
                "Share of test images still right as the radius grows, pixels in [0, 1]; radius 0 is clean accuracy.",
                accuracy_lines(lines, "radius"),
            )
        )
    return charts


def attack_heatmap(cells: dict[Key, Cell]) -> list[Chart]:
    """Methods against attacks on the linear (or own) head: brighter where more images stand."""
    charts = []
    chosen = {
        key: cell
        for key, cell in cells.items()
        if (key.metric == "robust-top1" or key.protocol == "clean")
        and not is_variant(key.method)
        and not key.protocol.startswith(("alf-", "aff-", "transfer-from-"))
    }
    for dataset in dict.fromkeys(key.dataset for key in chosen):
        here = {(key.method, key.protocol): cell for key, cell in chosen.items() if key.dataset == dataset}
        if len({protocol for _, protocol in here}) < 2:
            continue
        protocols = sorted({protocol for _, protocol in here}, key=lambda name: (name != "clean", natural(name)))
        charts.append(
            Chart(
                f"Which attack broke what: {dataset}",
                "Per cent of test images that stand, mean over seeds. The lowest number of a column of bounded attacks "
                "of one radius is the one to believe: an attack can only overstate robustness.",
                _heatmap(here, sorted({method for method, _ in here}, key=method_order), protocols),
            )
        )
    return charts


def transfer_matrix(cells: dict[Key, Cell]) -> list[Chart]:
    """Source against target of transferred perturbations."""
    groups: dict[tuple[str, str], dict[tuple[str, str], Cell]] = {}
    for key, cell in cells.items():
        found = re.fullmatch(r"transfer-from-(.+)@(.+)", key.protocol)
        if found:
            groups.setdefault((key.dataset, found[2]), {})[key.method, found[1]] = cell
    charts = []
    for (dataset, eps), here in groups.items():
        methods = sorted({name for pair in here for name in pair}, key=method_order)
        charts.append(
            Chart(
                f"Transfer of attacks on {dataset}, radius {eps}",
                "Column: the method that the perturbation was made against. Row: the method that it is shown to. "
                "Per cent of test images that stand; the diagonal is the white-box attack.",
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
