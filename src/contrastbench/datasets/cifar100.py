"""CIFAR-100: 60,000 colour photos of 100 classes, 32 x 32."""

from contrastbench.datasets.base import Adapter, Archive
from contrastbench.datasets.cifar import read_cifar

ARCHIVE = Archive(
    url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    name="cifar-100-python.tar.gz",
    digest="eb9058c3a382ffc7106e4002c42a8d85",
    algorithm="md5",
    size=169_001_437,
)

CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""

ADAPTER = Adapter(
    name="cifar100",
    modality="image",
    classes=tuple(CLASSES.split()),
    licence="no explicit licence; free for research, cite Krizhevsky (2009)",
    source="https://www.cs.toronto.edu/~kriz/cifar.html",
    split_rule="official train (50,000) and test (10,000), fine labels",
    read=lambda raw, _: read_cifar(raw, ARCHIVE, "CIFAR100"),
    archives=(ARCHIVE,),
    unpacked=("cifar-100-python",),
)
