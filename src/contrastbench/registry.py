"""Modalities, data sets and methods by the names that params.yaml, result rows and the command line use.

Modules are named, not imported: this file is read without torch, and a change in one method's, data set's or
modality's file makes only its own jobs stale.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, NamedTuple

from contrastbench.errors import UserError

RESERVED_NAME = "all"  # stands for all seeds or methods in paths: no method or variant may be called so
RESERVED_IN_NAMES = "-to-"  # A-to-B is trained on A, judged on B: no other name may contain it

# name -> "module:class" of what depends on the kind of data.
MODALITIES: dict[str, str] = {
    "image": "contrastbench.modalities.images:Images",
    "audio": "contrastbench.modalities.audio:Audio",
    "graph": "contrastbench.modalities.graphs:Graphs",
    # No data set is of these: images and sound still, but their encoders are built elsewhere, and so are other code.
    "library-image": "contrastbench.modalities.library_images:LibraryImages",
    "library-sound": "contrastbench.modalities.library_sound:LibrarySound",
}

# name -> module that holds its ADAPTER, one table per modality, because a track takes data of one.
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
GRAPH_DATASETS: dict[str, str] = {
    "mutag": "contrastbench.datasets.mutag",
    "ptc-mr": "contrastbench.datasets.ptc_mr",
    "proteins": "contrastbench.datasets.proteins",
    "nci1": "contrastbench.datasets.nci1",
    "imdb-binary": "contrastbench.datasets.imdb_binary",
    "imdb-multi": "contrastbench.datasets.imdb_multi",
    "imdb-binary-constant": "contrastbench.datasets.imdb_binary_constant",
    "imdb-multi-constant": "contrastbench.datasets.imdb_multi_constant",
}
DATASETS_OF: dict[str, dict[str, str]] = {  # by modality
    "image": IMAGE_DATASETS,
    "audio": AUDIO_DATASETS,
    "graph": GRAPH_DATASETS,
}
DATASETS: dict[str, str] = {name: module for names in DATASETS_OF.values() for name, module in names.items()}


class Kind(NamedTuple):
    """A kind of data that users declare: the module that reads it, and its modality; None where it is declared too."""

    module: str
    modality: str | None = None


KINDS: dict[str, Kind] = {
    "image-folder": Kind("contrastbench.datasets.image_folder", "image"),
    "sound-folder": Kind("contrastbench.datasets.sound_folder", "audio"),
    "npz": Kind("contrastbench.datasets.arrays"),
    "graph-folder": Kind("contrastbench.datasets.graph_folder", "graph"),
    "huggingface": Kind("contrastbench.datasets.huggingface"),
}
DECLARED: set[str] = set()  # those of DATASETS that the parameters which were read last declare

IMAGE, AUDIO, GRAPH = ("image",), ("audio",), ("graph",)
NO_SETTINGS = "params.settings:NoSettings"


@dataclass(frozen=True)
class MethodEntry:
    """A method. Both classes are written ``module:Class``, with the module's name below ``package``.

    path            its class
    settings        the section that types its settings; must load without torch. Of a method of the user's own the
                    section itself
    modalities      what it trains on
    starts_from     the method whose weights it starts from: the stage ``tune`` trains it after ``pretrain`` that one
    own_classifier  it learns with labels, and brings the classifier that it is judged by
    contrasts       its loss tells a batch's other view from negatives, as NT-Xent does
    trains          its encoder learns; otherwise the stage ``pretrain`` takes it as it is made
    """

    path: str
    settings: str | type
    modalities: tuple[str, ...]
    starts_from: str | None = None
    own_classifier: bool = False
    contrasts: bool = False
    trains: bool = True
    package: str = "contrastbench"


# The order is the order of the tables.
METHODS: dict[str, MethodEntry] = {
    "random": MethodEntry("methods.random_encoder:RandomEncoder", NO_SETTINGS, IMAGE + AUDIO + GRAPH, trains=False),
    "log-mel": MethodEntry("methods.log_mel:LogMel", NO_SETTINGS, AUDIO, trains=False),
    "frozen": MethodEntry("methods.frozen:Frozen", NO_SETTINGS, IMAGE + AUDIO, trains=False),
    "simclr": MethodEntry("methods.simclr:SimCLR", "params.settings_contrastive:SimCLRSettings", IMAGE, contrasts=True),
    "dcl": MethodEntry("methods.dcl:DCL", "params.settings_contrastive:DCLSettings", IMAGE, contrasts=True),
    "hcl": MethodEntry("methods.hcl:HCL", "params.settings_contrastive:HCLSettings", IMAGE, contrasts=True),
    "mochi": MethodEntry("methods.mochi:MoCHi", "params.settings_contrastive:MoCHiSettings", IMAGE, contrasts=True),
    "unremix": MethodEntry(
        "methods.unremix:UnReMix", "params.settings_contrastive:UnReMixSettings", IMAGE, contrasts=True
    ),
    "swav": MethodEntry("methods.swav:SwAV", "params.settings_contrastive:SwAVSettings", IMAGE),
    "rocl": MethodEntry("methods.rocl:RoCL", "params.settings_adversarial:RoCLSettings", IMAGE),
    "acl": MethodEntry("methods.acl:ACL", "params.settings_adversarial:ACLSettings", IMAGE),
    "clae": MethodEntry("methods.clae:CLAE", "params.settings_adversarial:CLAESettings", IMAGE),
    "dynacl": MethodEntry("methods.dynacl:DynACL", "params.settings_adversarial:DynACLSettings", IMAGE),
    "a-infonce": MethodEntry("methods.a_infonce:AInfoNCE", "params.settings_adversarial:AInfoNCESettings", IMAGE),
    "swaro": MethodEntry("methods.swaro:SwARo", "params.settings_adversarial:SwARoSettings", IMAGE),
    "supervised": MethodEntry("methods.supervised:Supervised", NO_SETTINGS, IMAGE, own_classifier=True),
    "pgd-at": MethodEntry(
        "methods.pgd_at:PGDAdversarialTraining",
        "params.settings_adversarial:AttackSettings",
        IMAGE,
        own_classifier=True,
    ),
    "trades": MethodEntry(
        "methods.trades:TRADES", "params.settings_adversarial:TRADESSettings", IMAGE, own_classifier=True
    ),
    "mae": MethodEntry("methods.mae:MAE", NO_SETTINGS, AUDIO),
    "mae-joint": MethodEntry("methods.mae_joint:MAEJoint", "params.settings_autoencoder:JointSettings", AUDIO),
    "mae-ct": MethodEntry(
        "methods.mae_ct:MAECT", "params.settings_autoencoder:MAECTSettings", AUDIO, starts_from="mae"
    ),
    "uamix-mae": MethodEntry(
        "methods.uamix_mae:UaMixMAE", "params.settings_autoencoder:UaMixSettings", AUDIO, starts_from="mae"
    ),
    # Graphs: HOST-LOSS, because both hosts, GraphCL and InfoGraph, are trained with several losses.
    "graphcl": MethodEntry("methods.graphcl:GraphCL", "params.settings_graphs:GraphCLSettings", GRAPH, contrasts=True),
    "graphcl-simclr": MethodEntry(
        "methods.graphcl_simclr:GraphCLSimCLR", "params.settings_contrastive:SimCLRSettings", GRAPH, contrasts=True
    ),
    "graphcl-dcl": MethodEntry(
        "methods.graphcl_dcl:GraphCLDCL", "params.settings_contrastive:DCLSettings", GRAPH, contrasts=True
    ),
    "graphcl-hcl": MethodEntry(
        "methods.graphcl_hcl:GraphCLHCL", "params.settings_contrastive:HCLSettings", GRAPH, contrasts=True
    ),
    "graphcl-unremix": MethodEntry(
        "methods.graphcl_unremix:GraphCLUnReMix",
        "params.settings_contrastive:UnReMixSettings",
        GRAPH,
        contrasts=True,
    ),
    "infograph": MethodEntry("methods.infograph:InfoGraph", NO_SETTINGS, GRAPH),
    "infograph-hcl": MethodEntry(
        "methods.infograph_hcl:InfoGraphHCL", "params.settings_graphs:InfoGraphHCLSettings", GRAPH
    ),
    "infograph-unremix": MethodEntry(
        "methods.infograph_unremix:InfoGraphUnReMix", "params.settings_graphs:InfoGraphUnReMixSettings", GRAPH
    ),
}

# Reference rows without an encoder, and the modalities that have them: the probe sees the input itself.
WITHOUT_ENCODER: dict[str, tuple[str, ...]] = {"pixels": IMAGE + AUDIO, "histogram": GRAPH, "wl-kernel": GRAPH}
# Those of them that are judged by a kernel between examples, and so have no features.
KERNELS = ("wl-kernel",)
# All reference rows: nothing is learned, they say what learning adds. Tables test pairs with one of them apart.
REFERENCES = (*WITHOUT_ENCODER, "log-mel", "random")


@dataclass(frozen=True)
class AttackEntry:
    """An attack of the user's own: the module of its function ``attack``, its ball's norm, its section of settings."""

    module: str
    norm: Literal["linf", "l2", "l1"]
    settings: type


ATTACKS: dict[str, AttackEntry] = {}


def declare_datasets(found: Mapping[str, tuple[str, str]]) -> None:
    """Register data sets of parameters, name -> (modality, module), in the place of those registered so before."""
    for name in DECLARED:
        for names in (DATASETS, *DATASETS_OF.values()):
            names.pop(name, None)
    DECLARED.clear()
    for name, (modality, module) in found.items():
        if modality in DATASETS_OF and name not in DATASETS:
            DECLARED.add(name)
            DATASETS[name] = DATASETS_OF[modality][name] = module


def dataset_module(name: str) -> str:
    """Dotted name of the module that holds data set ``name``; an unknown name is a UserError."""
    if name not in DATASETS:
        raise UserError(f"unknown data set {name!r}; {hint(name, DATASETS)}")
    return DATASETS[name]


def modality_name(dataset: str) -> str:
    """The modality of a data set; an unknown data set is a UserError."""
    dataset_module(dataset)
    return next(modality for modality, names in DATASETS_OF.items() if dataset in names)


def modality_module(name: str) -> str:
    """Dotted name of the module that holds modality ``name``; an unknown name is a UserError."""
    if name not in MODALITIES:
        raise UserError(f"unknown modality {name!r}; {hint(name, DATASETS_OF)}")
    return MODALITIES[name].partition(":")[0]


def method_module(name: str) -> str:
    """Dotted name of the module that holds method ``name``; an unknown name is a UserError."""
    entry = _entry(name)
    return f"{entry.package}.{entry.path.partition(':')[0]}"


def settings_class(name: str) -> Any:
    """The class that types the settings of method ``name``, imported now."""
    settings = _entry(name).settings
    if isinstance(settings, type):
        return settings
    module, _, class_name = settings.partition(":")
    return getattr(import_module(f"contrastbench.{module}"), class_name)


def starts_from(name: str) -> str | None:
    """The method whose weights ``name`` starts from; None for one that is trained from scratch, or not at all."""
    return None if name in WITHOUT_ENCODER else _entry(name).starts_from


def has_own_classifier(name: str) -> bool:
    """Whether method ``name`` is judged by a classifier that it was trained with."""
    return name not in WITHOUT_ENCODER and _entry(name).own_classifier


def contrasts(name: str) -> bool:
    """Whether method ``name`` has a loss that can be held against NT-Xent's."""
    return name in METHODS and METHODS[name].contrasts


def settings_key(name: str) -> str:
    """The key of a method's settings in params.yaml."""
    return name.replace("-", "_")


def methods_of(modality: str) -> list[str]:
    """The methods that train on ``modality``."""
    return [name for name, entry in METHODS.items() if modality in entry.modalities]


def hint(name: str, known: Iterable[str]) -> str:
    """The nearest of the ``known`` names, or all of them."""
    known = [*known]
    near = nearest(name, known)
    return f"did you mean {near!r}?" if near else f"known: {', '.join(known)}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The one of ``known`` that ``name`` may mean; capitals, spaces, hyphens and underscores do not count."""
    plain = {re.sub(r"[\W_]", "", each).lower(): each for each in known}
    near = difflib.get_close_matches(re.sub(r"[\W_]", "", name).lower(), plain, n=1)
    return plain[near[0]] if near else None


def _entry(name: str) -> MethodEntry:
    if name not in METHODS:
        raise UserError(f"unknown method {name!r}; {hint(name, METHODS)}")
    return METHODS[name]
