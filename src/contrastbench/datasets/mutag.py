"""MUTAG: 188 nitro compounds, by whether they change the genes of a bacterium; ships with the package grakel."""

import importlib.util
from pathlib import Path

from contrastbench.datasets.base import Adapter, Split
from contrastbench.datasets.tu import LICENCE, SPLIT_RULE, read_tu
from contrastbench.errors import UserError
from contrastbench.params.data import DataParams

CLASSES = ("not mutagenic", "mutagenic")  # published as -1 (63) and 1 (125)
MD5 = {
    "A": "073286d1cb221c0a77c9f6be1f81f4f6",
    "graph_indicator": "30cde5dae8e80ce469bf94783f6b3e66",
    "graph_labels": "bea332baacf1ed2f413cc1da507c8811",
    "node_labels": "73d20730024a67a91e6ed9562ea3adc8",
}


def _read(_: Path, __: DataParams) -> dict[str, Split]:
    package = importlib.util.find_spec("grakel")  # locates it without importing it
    if package is None or package.origin is None:
        raise UserError("mutag ships with the package grakel, which is not installed; run `make install`")
    folder = Path(package.origin).parent / "tests" / "data" / "MUTAG"
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; install the version of grakel that pyproject.toml names")
    return read_tu(folder, CLASSES, md5=MD5)


ADAPTER = Adapter(
    name="mutag",
    modality="graph",
    classes=CLASSES,
    licence=LICENCE,
    source="package grakel, tests/data/MUTAG: as in https://chrsmrrs.github.io/datasets; nodes: atoms",
    split_rule=SPLIT_RULE,
    read=_read,
)
