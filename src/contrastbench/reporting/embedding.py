"""Maps of judged embeddings: two methods side by side, on their first two principal components."""

from html import escape
from pathlib import Path

import numpy as np
from plotly.subplots import make_subplots
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from contrastbench.pipeline.runs import judged_features, judged_labels
from contrastbench.reporting.figures import Chart, styled
from contrastbench.reporting.looks import MARKERS, PALETTE

# Per track: before and after learning (or tuning), first pair available.
PAIRS = {
    "unremix": (("random", "unremix"), ("random", "simclr")),
    "swaro": (("swav", "swaro"), ("random", "swaro"), ("random", "swav")),
    "uamix": (("mae", "uamix-mae"), ("random", "mae")),
    "graphs": (("random", "graphcl-unremix"), ("random", "graphcl")),
}
POINTS = 800


def embedding_maps(root: Path, preset: str, track: str, datasets: list[str], seed: int = 0) -> list[Chart]:
    """One chart per data set whose features and labels are available."""
    charts = []
    for dataset in datasets:
        labels = judged_labels(root, preset, track, dataset)
        for pair in PAIRS.get(track, ()):
            features = [judged_features(root, preset, track, dataset, method, seed) for method in pair]
            arrays = [array for array in features if array is not None]
            if labels is None or len(arrays) < 2 or any(len(array) != len(labels[0]) for array in arrays):
                continue
            charts.append(_chart(dataset, pair, arrays, *labels))
            break
    return charts


def _chart(dataset: str, pair: tuple[str, str], arrays: list[np.ndarray], y: np.ndarray, classes: list[str]) -> Chart:
    chosen = np.sort(np.random.default_rng(0).permutation(len(y))[:POINTS])
    figure = make_subplots(1, 2, subplot_titles=pair, horizontal_spacing=0.06)
    symbols = [*MARKERS]
    for place, array in enumerate(arrays):
        plane = PCA(2, random_state=0).fit_transform(StandardScaler().fit_transform(array))[chosen].round(3)
        for number, name in enumerate(classes):
            points = plane[y[chosen] == number]
            figure.add_scatter(
                x=points[:, 0],
                y=points[:, 1],
                mode="markers",
                name=escape(name),  # plotly reads tags
                marker={
                    "size": 5,
                    "color": PALETTE[number % len(PALETTE)],
                    "symbol": symbols[number // len(PALETTE) % len(symbols)],
                    "opacity": 0.75,
                },
                row=1,
                col=place + 1,
            )
    figure.update_xaxes(showticklabels=False, zeroline=False).update_yaxes(showticklabels=False, zeroline=False)
    reading = (
        f"Judged samples of {dataset} on the first two principal components of their standardised features, by class. "
        "Two of many directions: what overlaps here need not overlap in full."
    )
    return Chart(f"Embeddings of {dataset}: {pair[0]} and {pair[1]}", reading, styled(figure, 340))
