"""PROTEINS: 1,113 proteins, enzymes and others; nodes are parts of the secondary structure."""

from contrastbench.datasets.tu import published

ADAPTER = published(
    "proteins",
    "PROTEINS",
    ("1", "2"),  # as published
    nodes="secondary structure",
    md5={
        "A": "e1283f9419bdc9d123e3629e19f8d43d",
        "graph_indicator": "792ce6ec5fec3d456092ac2622d7e6e2",
        "graph_labels": "f6c7a131e44d14c1331c13bdd26833e1",
        "node_labels": "1c643f4695b0c256a1d1d0483e8abc71",
    },
)
