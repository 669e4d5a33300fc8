"""Registry of methods: one file a method, imported only when it is used.

The names are the ones used in params.yaml, result rows and on the command line. A method's module is looked
up by name, not imported here, so that a change in one method's file makes only that method's jobs stale.
"""

from importlib import import_module

from contrastbench import torch_compat  # noqa: F401  (must come before torchvision, timm, lightning)
from contrastbench.errors import UserError
from contrastbench.methods.base import Batch, Method, Step

# name -> "module:class". `pixels` and `random` are reference rows without training.
METHODS: dict[str, str] = {
    "random": "contrastbench.methods.random_encoder:RandomEncoder",
    "simclr": "contrastbench.methods.simclr:SimCLR",
    "dcl": "contrastbench.methods.dcl:DCL",
    "hcl": "contrastbench.methods.hcl:HCL",
    "mochi": "contrastbench.methods.mochi:MoCHi",
    "unremix": "contrastbench.methods.unremix:UnReMix",
    "swav": "contrastbench.methods.swav:SwAV",
    "swaro": "contrastbench.methods.swaro:SwARo",
    "rocl": "contrastbench.methods.rocl:RoCL",
    "acl": "contrastbench.methods.acl:ACL",
    "clae": "contrastbench.methods.clae:CLAE",
    "supervised": "contrastbench.methods.supervised:Supervised",
    "pgd-at": "contrastbench.methods.pgd_at:PGDAdversarialTraining",
    "trades": "contrastbench.methods.trades:TRADES",
    "mae": "contrastbench.methods.mae:MAE",
    "mae-ct": "contrastbench.methods.mae_ct:MAECT",
    "uamix-mae": "contrastbench.methods.uamix_mae:UaMixMAE",
    "mae-joint": "contrastbench.methods.mae_joint:MAEJoint",
}

__all__ = ["METHODS", "Batch", "Method", "Step", "method_class", "method_module"]


def method_module(name: str) -> str:
    """Dotted name of the module that holds method ``name``."""
    if name not in METHODS:
        raise UserError(f"unknown method {name!r}; known: {', '.join(METHODS)}")
    return METHODS[name].partition(":")[0]


def method_class(name: str) -> type[Method]:
    """The class of method ``name``; each has ``from_params(params, input_shape, number_of_classes)``."""
    module = import_module(method_module(name))
    return getattr(module, METHODS[name].partition(":")[2])
