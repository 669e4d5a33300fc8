"""PTC_MR: 344 compounds of the Predictive Toxicology Challenge, by whether they give male rats cancer."""

from contrastbench.datasets.tu import published

ADAPTER = published(
    "ptc-mr",
    "PTC_MR",
    ("-1", "1"),  # as published
    nodes="atoms",
    md5={
        "A": "2af8b91bbac065eb908ae4a29e1ddfc2",
        "graph_indicator": "c08a01e8829dab0687c958b9cb32b9d8",
        "graph_labels": "4e9d1187be60beec77a4f163a5265b11",
        "node_labels": "0c622b7251f3e552040203425f5e4d3f",
    },
)
