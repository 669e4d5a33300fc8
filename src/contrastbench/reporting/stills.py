"""Still images of the report, drawn by matplotlib from arrays: spectrograms, mixtures, adversarial examples.

No global state of matplotlib is used, and nothing that changes from run to run is written into the files: equal
arrays give equal bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import networkx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from contrastbench.files import replacing

DOTS_PER_INCH = 110
WIDTH = 8.0  # inches
HIDDEN = "0.85"  # the grey of hidden patches
STANDS, FALLS = "#1a7f37", "#c62828"


@dataclass(frozen=True)
class Reconstructed:
    """One clip: its name, and (T, F) arrays; ``masked`` is NaN where a patch was hidden."""

    name: str
    original: np.ndarray
    masked: np.ndarray
    reconstructed: np.ndarray


@dataclass(frozen=True)
class Mixed:
    """One mixture (T, F) of clip number ``own`` with clip number ``partner`` of a batch.

    replaced  (T, F) bool, where the mixture is not the clip itself
    kept      lambda, the share that comes from ``own``
    labels    (B,) row of the virtual labels: the weight of each clip of the batch
    """

    own: int
    partner: int
    mixture: np.ndarray
    replaced: np.ndarray
    kept: float
    labels: np.ndarray


@dataclass(frozen=True)
class Attacked:
    """What became of N images on one method's classifier.

    images     (N, H, W, C) in [0, 1], adversarial
    predicted  (N,) class numbers that the classifier gives them
    """

    method: str
    images: np.ndarray
    predicted: np.ndarray


@dataclass(frozen=True)
class DrawnGraph:
    """A graph, or a view of it.

    nodes    (n,) numbers, the same in all views
    edges    (E, 2) numbers of nodes
    labels   (n,) node labels
    changed  (n,) bool, whose features a view has changed
    """

    nodes: np.ndarray
    edges: np.ndarray
    labels: np.ndarray
    changed: np.ndarray


def draw_graph_views(path: Path, heading: str, views: Mapping[str, Sequence[DrawnGraph]]) -> None:
    """One row per graph, one column per view; the first column is the graph itself, and says where its nodes lie."""
    originals = next(iter(views.values()))
    figure = _figure(heading, 1.0 + 0.95 * WIDTH / len(views) * len(originals))
    axes = figure.subplots(len(originals), len(views), squeeze=False)
    for place, (name, graphs) in enumerate(views.items()):
        axes[0, place].set_title(name, fontsize="medium")
        for axis, graph, original in zip(axes[:, place], graphs, originals, strict=True):
            whole = networkx.Graph(original.edges.tolist())
            whole.add_nodes_from(original.nodes.tolist())
            at = networkx.kamada_kawai_layout(whole)
            _graph(axis, graph, original, at)
    note = (
        "Grey: what a view has lost; half a line is one direction of an edge. Colours: node labels.\n"
        "Crosses: nodes whose features became noise."
    )
    _save(figure, path, note)


def _graph(axis: Axes, graph: DrawnGraph, original: DrawnGraph, at: Mapping[int, np.ndarray]) -> None:
    for edges, colour in ((original.edges, HIDDEN), (graph.edges, "0.3")):
        for first, second in edges.tolist():  # directed: half of the way, so that a lost direction shows
            axis.plot(*np.array([at[first], (at[first] + at[second]) / 2]).T, color=colour, linewidth=1, zorder=1)
    lost = np.array([at[node] for node in original.nodes.tolist() if node not in set(graph.nodes.tolist())])
    if len(lost):
        axis.scatter(lost[:, 0], lost[:, 1], color=HIDDEN, s=14, zorder=2)
    places = np.array([at[node] for node in graph.nodes.tolist()]).reshape(-1, 2)
    kept, noise = places[~graph.changed], places[graph.changed]
    axis.scatter(kept[:, 0], kept[:, 1], c=[f"C{each % 10}" for each in graph.labels[~graph.changed]], s=14, zorder=3)
    axis.scatter(noise[:, 0], noise[:, 1], c=FALLS, s=14, marker="x", zorder=3)
    axis.set(xticks=[], yticks=[], aspect="equal")
    axis.margins(0.1)


def draw_reconstructions(path: Path, heading: str, clips: Sequence[Reconstructed], seconds: float) -> None:
    """One row per clip: spectrogram, what the encoder saw of it, and the whole as the decoder fills it in."""
    figure = _figure(heading, 1.0 + 1.45 * len(clips))
    axes = figure.subplots(len(clips), 3, squeeze=False, sharex=True, sharey=True)
    scale = _scale([clip.original for clip in clips])
    for row, clip in zip(axes, clips, strict=True):
        for axis, array in zip(row, (clip.original, clip.masked, clip.reconstructed), strict=True):
            _spectrogram(axis, array, seconds, scale)
        row[0].set_ylabel(f"{clip.name}\nmel bin", parse_math=False)
    hidden = np.mean([np.isnan(clip.masked) for clip in clips])
    titles = ("spectrogram", f"seen: {1 - hidden:.0%} of the patches", "reconstructed")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize="medium")
    for axis in axes[-1]:
        axis.set_xlabel("seconds")
    _colour_bar(figure, axes, scale)
    note = (
        "Patches that were seen are shown as they are. Where the decoder predicts a hidden patch up to a mean and a\n"
        "standard deviation (a target that is not raw), these are taken from the original, as in MAE's figures."
    )
    _save(figure, path, note)


def draw_mixtures(
    path: Path, heading: str, clips: np.ndarray, names: Sequence[str], mixtures: Sequence[Mixed], seconds: float
) -> None:
    """One row per mixture of ``clips`` (B, T, F): both clips, the mixture, every clip's weight in its label."""
    figure = _figure(heading, 1.2 + 1.75 * len(mixtures))
    axes = figure.subplots(len(mixtures), 4, squeeze=False, width_ratios=(1, 1, 1, 0.8))
    scale = _scale(clips)
    numbers = np.arange(1, len(clips) + 1)
    for row, mixed in zip(axes, mixtures, strict=True):
        for axis, clip in zip(row, (mixed.own, mixed.partner), strict=False):
            _spectrogram(axis, clips[clip], seconds, scale)
            axis.set_title(f"clip {clip + 1}: {names[clip]}", fontsize="small", parse_math=False)
        _spectrogram(row[2], mixed.mixture, seconds, scale)
        _mark_run(row[2], mixed.replaced, seconds)
        row[2].set_title(f"mixture, $\\lambda$ = {mixed.kept:.3f}", fontsize="small")
        row[0].set_ylabel("mel bin")
        row[3].bar(numbers, mixed.labels, color="#4c78a8")
        row[3].set(ylim=(0, 1.05), xticks=numbers, ylabel="weight")
        row[3].set_title(f"label row {mixed.own + 1}", fontsize="small")
    for axis in axes[-1, :3]:
        axis.set_xlabel("seconds")
    axes[-1, 3].set_xlabel("clip of the batch")
    _colour_bar(figure, axes[:, :3], scale)
    note = (
        "$\\lambda$: the share of the first clip that the mixture keeps; dashed lines bound what was replaced.\n"
        "Label row i: the share of every clip of the batch in mixture i, its weight as a positive in the loss."
    )
    _save(figure, path, note)


def draw_adversarial_examples(
    path: Path,
    heading: str,
    images: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    attacked: Sequence[Attacked],
    eps: float,
) -> None:
    """One row per image (N, H, W, C) in [0, 1]: as it is, then for each method attacked, and what was added to it.

    A perturbation of ``eps`` is drawn white, one of ``-eps`` black and none mid-grey.
    """
    columns = 1 + 2 * len(attacked)
    figure = _figure(heading, 1.3 + 0.98 * WIDTH / columns * len(images))
    axes = figure.subplots(len(images), columns, squeeze=False)
    for index, row in enumerate(axes):
        _picture(row[0], images[index], f"true: {classes[labels[index]]}")
        for place, each in enumerate(attacked):
            right = each.predicted[index] == labels[index]
            image, perturbation = row[1 + 2 * place : 3 + 2 * place]
            title = f"says: {classes[each.predicted[index]]}"
            _picture(image, each.images[index], title, STANDS if right else FALLS)
            _picture(perturbation, 0.5 + (each.images[index] - images[index]) / (2 * eps))
    heads = ["test image"]
    for each in attacked:
        heads += [f"attacked: {each.method}", f"change × {0.5 / eps:.3g}"]
    for axis, head in zip(axes[0], heads, strict=True):
        axis.annotate(head, (0.5, 1), (0, 20), "axes fraction", "offset points", ha="center", weight="bold")
    bar = figure.colorbar(ScalarMappable(Normalize(-eps, eps), "gray"), ax=axes, shrink=0.4, pad=0.01, aspect=30)
    bar.set_label("change of a pixel (full range: 1)")
    note = (
        "Green: the classifier still says the true class. Red: it does not; the attack stopped at the first step that\n"
        "achieved this. Images that all of these classifiers get right without an attack are shown before others."
    )
    _save(figure, path, note)


def _figure(heading: str, height: float) -> Figure:
    figure = Figure(figsize=(WIDTH, height), dpi=DOTS_PER_INCH, layout="constrained")
    figure.suptitle(heading, fontsize="large")
    return figure


def _scale(spectrograms: Sequence[np.ndarray] | np.ndarray) -> Normalize:
    """One range of colours for all, without the outermost hundredth on either side."""
    low, high = np.percentile(np.stack([*spectrograms]), (1, 99))
    return Normalize(float(low), float(high))


def _spectrogram(axis: Axes, array: np.ndarray, seconds: float, scale: Normalize) -> None:
    """(T, F) with time to the right and frequency upwards."""
    axis.set_facecolor(HIDDEN)  # shows through where the array is NaN
    extent = (0, seconds, 0, array.shape[1])
    axis.imshow(array.T, origin="lower", aspect="auto", extent=extent, norm=scale, interpolation="nearest")


def _mark_run(axis: Axes, replaced: np.ndarray, seconds: float) -> None:
    """Lines where the replaced frames of (T, F) begin and end, if inside the spectrogram."""
    frames = np.flatnonzero(replaced.any(axis=1))
    for frame in (*frames[:1], *frames[-1:] + 1):
        if 0 < frame < len(replaced):
            axis.axvline(frame * seconds / len(replaced), color="white", linestyle="--", linewidth=1)


def _colour_bar(figure: Figure, axes: np.ndarray, scale: Normalize) -> None:
    bar = figure.colorbar(ScalarMappable(scale), ax=axes, shrink=0.6, pad=0.01, aspect=30)
    bar.set_label("log-mel energy, normalised")


def _picture(axis: Axes, image: np.ndarray, title: str = "", colour: str = "black") -> None:
    shown = image[:, :, 0] if image.shape[2] == 1 else image.clip(0, 1)
    axis.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize="small", color=colour, parse_math=False)  # a class's name is the user's


def _save(figure: Figure, path: Path, note: str) -> None:
    figure.supxlabel(note, fontsize="small", x=0.02, ha="left")
    with replacing(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})  # matplotlib's version is no part of the picture
