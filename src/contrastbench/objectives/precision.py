"""Losses are computed in float32, even where the network around them runs in half precision."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

First = TypeVar("First", bound=Tensor | tuple[Tensor, ...])
Rest = ParamSpec("Rest")


def in_float32(loss: Callable[Concatenate[First, Rest], Tensor]) -> Callable[Concatenate[First, Rest], Tensor]:
    """Disable autocast inside ``loss``: it would compute Gram matrices in half precision even from float32 inputs.

    The loss casts its inputs to float32 itself.
    """

    @wraps(loss)
    def computed(first: First, *rest: Rest.args, **settings: Rest.kwargs) -> Tensor:
        device = (first if isinstance(first, Tensor) else first[0]).device
        with torch.autocast(device.type, enabled=False):
            return loss(first, *rest, **settings)

    return computed
