"""IMDB-MULTI: 1,500 networks of actors, of comedies, romances and science fiction; a node's label is its degree."""

from contrastbench.datasets.tu import published

FOLDER = "IMDB-MULTI"
CLASSES = ("1", "2", "3")  # the labels as published
MD5 = {
    "A": "89e0a348c658230278dbe79bb583e075",
    "graph_indicator": "aac603f474c4a20a4cf3fe12eceb6120",
    "graph_labels": "0725c22ad100acf670990056b546e68b",
}
ADAPTER = published("imdb-multi", FOLDER, CLASSES, nodes="degree", md5=MD5)
