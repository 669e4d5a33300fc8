"""PROTEINS: 1,113 proteins, enzymes and others; nodes are parts of the secondary structure."""

from contrastbench.datasets.tu import published

ADAPTER = published(
    "proteins",
    "PROTEINS",
    ("1", "2"),  # as published
    nodes="secondary structure",
    md5={"A": "e1283f9419bdc9d123e3629e19f8d43d", "graph_labels": "f6c7a131e44d14c1331c13bdd26833e1"},
)
