"""What a method of the user's own returns is checked where it is returned: what is wrong is told in one line."""

import random
from collections.abc import Callable
from functools import wraps
from numbers import Real
from typing import Any

import numpy as np

from contrastbench.errors import UserError

STEP = "{'loss': a scalar tensor with a gradient, 'embeddings': a tensor (N, D), any other name: a scalar tensor}"
TAKEN = ("step", "epoch", "learning_rate", "effective_rank", "validation_knn")  # by the loop, in the same log


def check_method(made: Any, path: str) -> None:
    """Have the class ``made`` of the file at ``path`` refuse what it returns unless it is as ``Method`` says.

    Raises UserError for a class that is no ``Method``, or an unfinished one.
    """
    place = f"{path}: class {made.__name__}"
    if not hasattr(made, "from_params"):
        raise UserError(f"{place} is no contrastbench.methods.base.Method; derive it")
    if lacks := sorted(getattr(made, "__abstractmethods__", ())):
        raise UserError(f"{place}: defines no {lacks[0]!r}, which every method needs")
    made.training_step = _checked_step(made.training_step, place)
    made.diagnose = _checked_diagnosis(made.diagnose, place)


def seed_libraries(seed: int) -> None:
    """Seed what own code may draw from unasked, besides torch: NumPy's and Python's global generators."""
    np.random.seed(seed % 2**32)
    random.seed(seed)


def _checked_step(function: Callable[..., Any], place: str) -> Callable[..., Any]:
    @wraps(function)
    def training_step(self: Any, batch: Any, step: Any) -> Any:
        if step.number == 0:
            _check_encoder(self, batch, place)
        seed_libraries(step.generator.initial_seed())
        found = function(self, batch, step)
        if wrong := _wrong_in_step(found):
            raise UserError(f"{place}: training_step returned {wrong}; expected {STEP}")
        return found

    return training_step


def _check_encoder(method: Any, batch: Any, place: str) -> None:
    """The first batch through the encoder, as it will be judged: before training, which may take long."""
    encoder: Any = getattr(method, "encoder", None)
    if not hasattr(encoder, "parameters"):
        raise UserError(f"{place}: self.encoder is {type(encoder).__name__}; expected a torch.nn.Module")
    modes = {module: module.training for module in encoder.modules()}
    encoder.eval()
    features = encoder(batch.clean)
    for module, mode in modes.items():
        module.training = mode
    if getattr(features, "ndim", None) != 2 or len(features) != len(batch.index):
        expected = f"({len(batch.index)}, D), a feature vector for each"
        raise UserError(f"{place}: self.encoder returned {_shown(features)}; expected a tensor {expected}")


def _wrong_in_step(found: Any) -> str:
    """What is wrong with the result of a step; nothing where it is right."""
    if not isinstance(found, dict):
        return _shown(found)
    if lacks := [name for name in ("loss", "embeddings") if name not in found]:
        return f"no {lacks[0]!r}"
    for name, value in found.items():
        if not isinstance(name, str) or name in TAKEN:
            return f"the name {name!r}{', which is taken' if name in TAKEN else ''}"
        if getattr(value, "ndim", None) != (2 if name == "embeddings" else 0) or not hasattr(value, "detach"):
            return f"{_shown(value)} as {name!r}"
    loss = found["loss"]
    if loss.requires_grad and loss.is_floating_point():
        return ""
    return f"a tensor of {loss.dtype}{'' if loss.requires_grad else ', without a gradient,'} as 'loss'"


def _checked_diagnosis(function: Callable[..., Any], place: str) -> Callable[..., Any]:
    @wraps(function)
    def diagnose(self: Any, batch: Any, labels: Any) -> Any:
        found = function(self, batch, labels)
        if not isinstance(found, dict) or not all(isinstance(value, Real) for value in found.values()):
            raise UserError(f"{place}: diagnose returned {_shown(found)}; expected a dict of numbers, each a float")
        return found

    return diagnose


def _shown(value: Any) -> str:
    return f"{type(value).__name__} {tuple(value.shape)}" if hasattr(value, "shape") else type(value).__name__
