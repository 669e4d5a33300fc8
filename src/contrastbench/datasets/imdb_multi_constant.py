"""IMDB-MULTI with the same label for all nodes: what GraphCL's and InfoGraph's code make of it."""

from contrastbench.datasets.imdb_multi import CLASSES, FOLDER, MD5
from contrastbench.datasets.tu import published

ADAPTER = published("imdb-multi-constant", FOLDER, CLASSES, nodes="all alike", md5=MD5, constant=True)
