"""Small folders of pictures, sounds, graphs and arrays, as users have them."""

from pathlib import Path

import numpy as np
import soundfile
import yaml
from conftest import REPOSITORY
from PIL import Image

from contrastbench.pipeline.grid import Grid

PETS = {"cat": 0, "dog": 2, "fish": 1}  # the channel that is bright


def picture(number: int, channel: int = 0, side: int = 24) -> np.ndarray:
    """(side, side + 6, 3), noise with a bright channel and a bright spot; every number another one."""
    draw = np.random.default_rng([number, channel])
    x = draw.integers(0, 100, (side, side + 6, 3))
    x[..., channel] += 60
    top, left = draw.integers(0, side - 8, 2)
    x[top : top + 8, left : left + 8] += 90
    return x.astype(np.uint8)


def draw_pictures(folder: Path, count: int = 20, classes: dict[str, int] = PETS, first: int = 0) -> Path:
    """``folder/CLASS/NN.png``."""
    for name, channel in classes.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            Image.fromarray(picture(number, channel)).save(folder / name / f"{number:02}.png")
    return folder


def play_sounds(folder: Path, count: int, *, first: int = 0, who: str = "", seconds: float = 1.5) -> Path:
    """``folder/CLASS/WHO_NN.wav``, tones with noise at 8 kHz; every number sounds otherwise."""
    t = np.arange(int(8000 * seconds)) / 8000
    for tone, name in enumerate(("crow", "tit"), 1):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            draw = np.random.default_rng([number, tone])
            wave = 0.3 * np.sin(2 * np.pi * 500 * tone * t * draw.uniform(0.95, 1.05)) + draw.normal(0, 0.01, len(t))
            soundfile.write(folder / name / f"{who}{number:02}.wav", wave, 8000)
    return folder


def draw_graphs(folder: Path, count: int = 20) -> Path:
    """Triangles, of class 1, and paths of three nodes, of class -1, in the layout of the TU Dortmund collection."""
    folder.mkdir(parents=True)
    edges, indicator, labels = [], [], []
    for graph in range(count):
        first = 3 * graph + 1
        pairs = [(first, first + 1), (first + 1, first + 2), *([(first + 2, first)] if graph % 2 else [])]
        edges += [f"{a}, {b}" for pair in pairs for a, b in (pair, pair[::-1])]
        indicator += [str(graph + 1)] * 3
        labels.append("1" if graph % 2 else "-1")
    for kind, lines in (("A", edges), ("graph_indicator", indicator), ("graph_labels", labels)):
        (folder / f"{folder.name}_{kind}.txt").write_text("\n".join(lines) + "\n")
    return folder


def project(folder: Path, preset: dict, name: str = "mine") -> Grid:
    """The grid of a ``preset`` in a project ``folder`` with the repository's parameters."""
    (folder / "presets").mkdir(exist_ok=True)
    (folder / "params.yaml").write_bytes((REPOSITORY / "params.yaml").read_bytes())
    (folder / f"presets/{name}.yaml").write_text(yaml.safe_dump(preset), encoding="utf-8")
    return Grid(name, folder)
