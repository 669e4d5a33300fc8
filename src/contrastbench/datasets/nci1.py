"""NCI1: 4,110 compounds, by whether they act against non-small cell lung cancer."""

from contrastbench.datasets.tu import published

ADAPTER = published(
    "nci1",
    "NCI1",
    ("0", "1"),  # as published
    nodes="atoms",
    md5={
        "A": "12b0937c698fea04560519334a9a75c7",
        "graph_indicator": "4ee85628b77f94d5c1a8da0d76580cf0",
        "graph_labels": "1e76a12fd18c4a512fe736cbc4ca5b41",
        "node_labels": "6cf940202ef08b229e15f56c1da41358",
    },
)
