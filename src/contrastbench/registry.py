"""Names of modalities, data sets and methods, as used in params.yaml, result rows and on the command line.

Modules are named, not imported: this file is read without torch, and a change in one method's, data set's or
modality's file makes only its own jobs stale.
"""

import difflib
from collections.abc import Iterable

from contrastbench.errors import UserError

# name -> "module:class" of what depends on the kind of data.
MODALITIES: dict[str, str] = {
    "image": "contrastbench.modalities.images:Images",
    "audio": "contrastbench.modalities.audio:Audio",
}

# name -> module that holds its ADAPTER. Images and sound apart, because a track takes the one or the other.
IMAGE_DATASETS: dict[str, str] = {
    "digits": "contrastbench.datasets.digits",
    "mnist5k": "contrastbench.datasets.mnist5k",
    "cifar10": "contrastbench.datasets.cifar10",
    "cifar100": "contrastbench.datasets.cifar100",
    "stl10": "contrastbench.datasets.stl10",
    "tinyimagenet": "contrastbench.datasets.tinyimagenet",
}
AUDIO_DATASETS: dict[str, str] = {
    "instruments": "contrastbench.datasets.instruments",
    "esc50": "contrastbench.datasets.esc50",
    "fsdd": "contrastbench.datasets.fsdd",
    "fsdd-official": "contrastbench.datasets.fsdd_official",
    "speechcommands": "contrastbench.datasets.speechcommands",
    "speechcommands-test": "contrastbench.datasets.speechcommands_test",
    "speechcommands-esc50": "contrastbench.datasets.speechcommands_esc50",
    "fsdkaggle2018": "contrastbench.datasets.fsdkaggle2018",
    "nsynth": "contrastbench.datasets.nsynth",
    "voxceleb1": "contrastbench.datasets.voxceleb1",
    "audioset20k": "contrastbench.datasets.audioset20k",
}
DATASETS: dict[str, str] = IMAGE_DATASETS | AUDIO_DATASETS

# name -> "module:class"; the order is the order of the tables.
METHODS: dict[str, str] = {
    "random": "contrastbench.methods.random_encoder:RandomEncoder",
    "simclr": "contrastbench.methods.simclr:SimCLR",
    "dcl": "contrastbench.methods.dcl:DCL",
    "hcl": "contrastbench.methods.hcl:HCL",
    "mochi": "contrastbench.methods.mochi:MoCHi",
    "unremix": "contrastbench.methods.unremix:UnReMix",
    "swav": "contrastbench.methods.swav:SwAV",
    "rocl": "contrastbench.methods.rocl:RoCL",
    "acl": "contrastbench.methods.acl:ACL",
    "clae": "contrastbench.methods.clae:CLAE",
    "swaro": "contrastbench.methods.swaro:SwARo",
    "supervised": "contrastbench.methods.supervised:Supervised",
    "pgd-at": "contrastbench.methods.pgd_at:PGDAdversarialTraining",
    "trades": "contrastbench.methods.trades:TRADES",
    "mae": "contrastbench.methods.mae:MAE",
    "mae-joint": "contrastbench.methods.mae_joint:MAEJoint",
    "mae-ct": "contrastbench.methods.mae_ct:MAECT",
    "uamix-mae": "contrastbench.methods.uamix_mae:UaMixMAE",
}

# Methods that start from another method's weights: the stage ``tune`` trains them after ``pretrain`` has trained that.
TUNED_FROM: dict[str, str] = {"mae-ct": "mae", "uamix-mae": "mae"}

# Reference rows without an encoder: the probe sees the input itself.
WITHOUT_ENCODER = ("pixels",)


def dataset_module(name: str) -> str:
    """Dotted name of the module that holds data set ``name``; an unknown name is a UserError."""
    if name not in DATASETS:
        raise UserError(f"unknown data set {name!r}; {hint(name, DATASETS)}")
    return DATASETS[name]


def modality_module(name: str) -> str:
    """Dotted name of the module that holds modality ``name``; an unknown name is a UserError."""
    if name not in MODALITIES:
        raise UserError(f"unknown modality {name!r}; {hint(name, MODALITIES)}")
    return MODALITIES[name].partition(":")[0]


def method_module(name: str) -> str:
    """Dotted name of the module that holds method ``name``."""
    if name not in METHODS:
        raise UserError(f"unknown method {name!r}; {hint(name, METHODS)}")
    return METHODS[name].partition(":")[0]


def hint(name: str, known: Iterable[str]) -> str:
    """The nearest of the ``known`` names, or all of them."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
