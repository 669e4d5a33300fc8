"""CIFAR-10: 60,000 colour photos of 10 classes, 32 x 32."""

from contrastbench.datasets.base import Adapter, Archive
from contrastbench.datasets.cifar import read_cifar

ARCHIVE = Archive(
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    name="cifar-10-python.tar.gz",
    digest="c58f30108f718f92721af3b95e74349a",
    algorithm="md5",
    size=170_498_071,
)

ADAPTER = Adapter(
    name="cifar10",
    modality="image",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    licence="no explicit licence; free for research, cite Krizhevsky (2009)",
    source="https://www.cs.toronto.edu/~kriz/cifar.html",
    split_rule="official train (50,000) and test (10,000)",
    read=lambda raw, _: read_cifar(raw, ARCHIVE, "CIFAR10"),
    archives=(ARCHIVE,),
    unpacked=("cifar-10-batches-py",),
)
