"""IMDB-BINARY: 1,000 networks of actors, of action and of romance films; a node's label is its degree."""

from contrastbench.datasets.tu import published

FOLDER = "IMDB-BINARY"
CLASSES = ("0", "1")  # the labels as published
MD5 = {
    "A": "49e24a3863e80273fbcefd9cebea0186",
    "graph_indicator": "23d1717b8e7e99e45ef73d96b732859a",
    "graph_labels": "fe5e8391678748ff45e4ed731aa13f06",
}
ADAPTER = published("imdb-binary", FOLDER, CLASSES, nodes="degree", md5=MD5)
