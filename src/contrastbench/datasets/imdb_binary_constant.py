"""IMDB-BINARY with the same label for all nodes: what GraphCL's and InfoGraph's code make of it."""

from contrastbench.datasets.imdb_binary import CLASSES, FOLDER, MD5
from contrastbench.datasets.tu import published

ADAPTER = published("imdb-binary-constant", FOLDER, CLASSES, nodes="all alike", md5=MD5, constant=True)
