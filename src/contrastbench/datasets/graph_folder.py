"""Graphs of the user's own, in the layout of the TU Dortmund collection."""

from pathlib import Path

from contrastbench.datasets.own import Own, Reading
from contrastbench.datasets.tu import SPLIT_RULE, graph_labels, read_tu
from contrastbench.params.declared import GraphFolder


def is_graph_folder(path: Path) -> bool:
    """Whether a folder holds files in this layout, whatever they are called."""
    return any(path.glob("*_graph_indicator.txt"))


def read(reading: Reading, declared: GraphFolder) -> Own:
    """The graphs of a folder NAME with NAME_A.txt and others; classes are the labels. UserError where they are none."""
    labels = graph_labels(reading.path)
    reading.check({"train": labels})
    classes = tuple(map(str, sorted(set(labels.tolist()))))
    source = f"{declared.kind} {declared.path}"
    return Own(reading.name, "graph", classes, source, SPLIT_RULE, read_tu(reading.path, classes))
