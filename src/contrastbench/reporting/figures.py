"""Interactive figures of the report, made by plotly from cells and training histories. Absent data, no figure."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from contrastbench.pipeline.groups import Curve
from contrastbench.pipeline.runs import Run
from contrastbench.pipeline.stages import GROUPS
from contrastbench.reporting.cells import Cell, Key
from contrastbench.reporting.looks import Entry, entries, looks, place
from contrastbench.results.protocols import Protocol


@dataclass(frozen=True)
class Chart:
    """A figure with its title and one line on how to read it."""

    title: str
    reading: str
    figure: go.Figure

    @property
    def key(self) -> list[Entry]:
        """What its lines and markers stand for; the page writes it below the plot."""
        return entries(self.figure)


BARE = go.layout.Template()  # plotly's own is larger than the figures
BARS = "Bars: 95 % interval over seeds and test examples."
PLOT = 320  # pixels between the axes, from top to bottom
TOP, BOTTOM, GAP = 30, 50, 60  # pixels for headings, for what the axis below says, and between panels


def styled(figure: go.Figure, plot: int = PLOT) -> go.Figure:
    """The look that all figures share; the page sets text and grid colours for light and dark.

    ``plot`` is the height in pixels of what lies between the margins.
    """
    figure.update_xaxes(automargin=True).update_yaxes(automargin=True)
    return figure.update_layout(
        template=BARE,
        height=TOP + plot + BOTTOM,
        margin={"l": 55, "r": 15, "t": TOP, "b": BOTTOM},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"size": 13},
        showlegend=False,
        hoverlabel={"namelength": -1},
    )


def training_curves(history: pd.DataFrame) -> list[Chart]:
    """Loss and effective rank over epochs: one chart for each data set and training stage, one line per seed."""
    if history.empty:
        return []
    charts = []
    for (stage, dataset), group in history.groupby(["stage", "dataset"], sort=False):
        panels = {"loss": "loss", "effective_rank": "effective rank"}
        charts.append(
            Chart(
                f"Training on {dataset} ({stage})",
                "One line per seed. Losses of different methods have different scales and are not comparable; an "
                "effective rank that falls towards 1 means that the embeddings collapse.",
                _curves(group, panels),
            )
        )
    return charts


def learning_curves(history: pd.DataFrame) -> list[Chart]:
    """Validation kNN over epochs, where it was measured: one line per method, bars over its seeds."""
    if "validation_knn" not in history:
        return []
    measured = history[history["validation_knn"].notna()]
    reading = (
        "kNN on the validation split, its neighbours training examples, while the encoder trains. Lines: mean over "
        "seeds; bars: from the lowest to the highest seed."
    )
    charts = []
    for (stage, dataset), group in measured.groupby(["stage", "dataset"], sort=False):
        figure = go.Figure()
        for method, look in looks(group["method"]).items():
            points = 100 * group[group["method"] == method].groupby("epoch")["validation_knn"].agg(
                ["mean", "min", "max"]
            )
            figure.add_scatter(
                x=points.index,
                y=points["mean"].round(3),
                error_y={
                    "type": "data",
                    "array": (points["max"] - points["mean"]).round(3),
                    "arrayminus": (points["mean"] - points["min"]).round(3),
                    "thickness": 1,
                },
                name=method,
                mode="lines+markers",
                **look.drawn(),
            )
        figure.update_xaxes(title_text="epoch").update_yaxes(title_text="accuracy %")
        charts.append(Chart(f"Learning curves on {dataset} ({stage})", reading, styled(figure)))
    return charts


GRADIENTS = {
    "gradient_cosine": "cosine, same temperature",
    "gradient_cosine_best": "cosine, best temperature",
    "gradient_norm_ratio": "length over NT-Xent's",
    "best_temperature": "best temperature",
}


def gradient_curves(history: pd.DataFrame) -> list[Chart]:
    """How far each loss's gradient was from NT-Xent's during training, for the methods that log it."""
    if history.empty or "gradient_cosine" not in history:
        return []
    logged = history[history["gradient_cosine"].notna()]
    reading = (
        "Gradient with respect to the projector's outputs, of the method's loss and of NT-Xent's on the same batch. "
        "Cosine 1: every embedding is moved alike. The best temperature is that of NT-Xent's most similar gradient."
    )
    return [
        Chart(f"Gradients beside NT-Xent's on {dataset}", reading, _curves(group, GRADIENTS))
        for dataset, group in logged.groupby("dataset", sort=False)
    ]


SCORES = ("weights", "uncertainty", "similarity", "representativeness", "random", "all")


def selection_bars(cells: dict[Key, Cell]) -> list[Chart]:
    """False negatives among the heaviest, a group of bars for each ranking; the dotted line is the base rate."""
    charts = []
    chosen = {key: cell for key, cell in cells.items() if key.protocol.family == "false-negatives"}
    reading = (
        "Labels are used only to look. Same-class samples among each anchor's heaviest negatives, all methods on one "
        f"trained encoder; the dotted line is their share among all negatives. {BARS}"
    )
    for dataset in dict.fromkeys(key.dataset for key in chosen):
        own = {key: cell for key, cell in chosen.items() if key.dataset == dataset}
        figure = go.Figure()
        for method, look in looks(key.method for key in own).items():
            bars = {key.protocol.score: cell for key, cell in own.items() if key.method == method}
            shown = [score for score in SCORES if score in bars and score != "all"]
            ends = [bars[score].interval or (bars[score].mean,) * 2 for score in shown]
            figure.add_bar(
                x=shown,
                y=[round(100 * bars[score].mean, 3) for score in shown],
                error_y={
                    "type": "data",
                    "array": [round(100 * (end[1] - bars[s].mean), 3) for s, end in zip(shown, ends, strict=True)],
                    "arrayminus": [round(100 * (bars[s].mean - end[0]), 3) for s, end in zip(shown, ends, strict=True)],
                },
                name=method,
                marker_color=look.colour,
            )
            if "all" in bars:
                figure.add_hline(y=100 * bars["all"].mean, line_dash="dot", line_color="#888")
        figure.update_yaxes(title_text="false negatives %")
        charts.append(Chart(f"Selection of negatives on {dataset}", reading, styled(figure)))
    return charts


def _curves(group: pd.DataFrame, panels: dict[str, str]) -> go.Figure:
    columns = 1 if len(panels) < 3 else 2
    rows = -(-len(panels) // columns)
    height = rows * PLOT + (rows - 1) * GAP
    titles = list(panels.values())
    figure = make_subplots(rows, columns, subplot_titles=titles, horizontal_spacing=0.12, vertical_spacing=GAP / height)
    figure.update_annotations(font_size=13)
    shown = looks(group["method"])
    for panel, name in enumerate(panels):
        for method, look in shown.items():
            for _, run in group[group["method"] == method].groupby("seed"):
                if name not in run or run[name].isna().all():
                    continue
                run = run[run[name].notna()]  # a learning curve has points between logged steps
                line = go.Scatter(
                    x=run["epoch"],
                    y=run[name].round(5),
                    name=method,
                    mode="lines",
                    line=look.drawn(1.5)["line"],
                )
                figure.add_trace(line, row=panel // columns + 1, col=panel % columns + 1)
    figure.update_xaxes(title_text="epoch", row=rows)
    return styled(figure, height)


def protocol_curves(cells: dict[Key, Cell]) -> list[Chart]:
    """Lines over the part of a protocol that its group is drawn over: labels, radius, signal-to-noise ratio.

    One chart for each data set and for what else the protocols say.
    """
    charts = []
    for group in GROUPS:
        for curve in group.curves:
            found: dict[tuple[str, Protocol], dict[str, list[tuple[float, Cell]]]] = {}
            for key, cell in cells.items():
                x = getattr(key.protocol, curve.over)
                if x is not None and group.holds(key.protocol):
                    rest = key.protocol.model_copy(update={curve.over: None})
                    found.setdefault((key.dataset, rest), {}).setdefault(key.method, []).append((float(x), cell))
            charts += [_protocol_chart(curve, *where, lines, cells) for where, lines in found.items() if _bends(lines)]
    return charts


def _bends(lines: dict[str, list[tuple[float, Cell]]]) -> bool:
    return max(len(points) for points in lines.values()) > 1


def _protocol_chart(
    curve: Curve, dataset: str, rest: Protocol, lines: dict[str, list[tuple[float, Cell]]], cells: dict[Key, Cell]
) -> Chart:
    """One of :func:`protocol_curves`; the value of the family ``curve.zero`` is added at 0."""
    zero = {key.method: cell for key, cell in cells.items() if _is_zero(key, curve, dataset, rest)}
    for method, points in lines.items():
        points += [(0.0, zero[method])] if method in zero else []
    figure = accuracy_lines(lines, curve.axis)
    if curve.logarithmic:
        figure.update_xaxes(type="log", tickvals=sorted({x for points in lines.values() for x, _ in points}))
    said = [f"{rest.way}-way" * bool(rest.way), rest.classifier, rest.head and rest.head.upper()]
    steps = f"{rest.steps} steps" if rest.steps else ""
    title = ", ".join(text for text in (f"{rest.family} on {dataset}", rest.norm, steps, *said) if text)
    return Chart(title, f"{curve.reading} {BARS}", figure)


def _is_zero(key: Key, curve: Curve, dataset: str, rest: Protocol) -> bool:
    return key.protocol.family == curve.zero and key.dataset == dataset and key.protocol.head == rest.head


def accuracy_lines(lines: dict[str, list[tuple[float, Cell]]], axis: str) -> go.Figure:
    """Accuracy in per cent over a number: one line per method, bars of the 95 % interval."""
    figure = go.Figure()
    for method, look in looks(lines).items():
        points = sorted(lines[method], key=lambda point: point[0])
        means = [cell.mean for _, cell in points]
        ends = [cell.interval or (cell.mean, cell.mean) for _, cell in points]
        figure.add_scatter(
            x=[x for x, _ in points],
            y=[round(100 * mean, 3) for mean in means],
            error_y={
                "type": "data",
                "array": [round(100 * (high - mean), 3) for mean, (_, high) in zip(means, ends, strict=True)],
                "arrayminus": [round(100 * (mean - low), 3) for mean, (low, _) in zip(means, ends, strict=True)],
                "thickness": 1,
            },
            name=method,
            mode="lines+markers",
            **look.drawn(),
        )
    return styled(figure.update_xaxes(title_text=axis).update_yaxes(title_text="accuracy %"))


def simplex(runs: list[Run], cells: dict[Key, Cell], family: str = "linear") -> list[Chart]:
    """UnReMix's three weights as a triangle, coloured by accuracy: one chart per data set."""
    charts = []
    for dataset in dict.fromkeys(run.dataset for run in runs):
        weights = _weights({run.method: run for run in runs if run.dataset == dataset})
        values = {
            key.method: cell
            for key, cell in cells.items()
            if key.dataset == dataset and key.protocol.family == family and key.method in weights
        }
        if len(values) < 3:
            continue
        shown = sorted(values, key=place)
        corner = np.array([weights[method] for method in shown])
        accuracy = [round(100 * values[method].mean, 2) for method in shown]
        figure = go.Figure(
            go.Scatterternary(
                a=corner[:, 0],
                b=corner[:, 1],
                c=corner[:, 2],
                text=[f"{value:.1f}" for value in accuracy],
                hovertext=shown,
                mode="markers+text",
                textposition="middle right",
                marker={"size": 18, "color": accuracy, "colorscale": "Viridis"},
                cliponaxis=False,
            )
        )
        axes = {
            f"{side}axis": {"title": {"text": name}, "showticklabels": False}
            for side, name in zip("abc", NAMES, strict=True)
        }
        figure.update_layout(ternary={"sum": 1, "bgcolor": "rgba(0,0,0,0)", **axes})
        reading = f"{family} top-1 of UnReMix for each mixture of its three scores; the middle weighs them alike."
        figure = styled(figure).update_layout(margin={"l": 60, "r": 60, "t": 50, "b": 40})
        charts.append(Chart(f"The simplex of UnReMix's weights on {dataset}", reading, figure))
    return charts


NAMES = ("uncertainty", "similarity", "representativeness")


def _weights(runs: dict[str, Run]) -> dict[str, tuple[float, ...]]:
    """The weights of ``unremix`` and of those variants that differ from it in nothing else."""
    settings = {method: run.record.get("params", {}).get("settings", {}) for method, run in runs.items()}
    base = settings.get("unremix", {})
    return {
        method: tuple(own["weights"])
        for method, own in settings.items()
        if "weights" in own and {**own, "weights": None} == {**base, "weights": None}
    }
