"""Linear layers that compute in oneDNN on a CPU.

torch's own float32 products go through MKL, which leaves half of a processor's width unused where it is not
Intel's; oneDNN asks what the processor can do. The values differ in the last digits.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional


class OneDNNLinear(nn.Linear):
    """``nn.Linear`` in float32 on a CPU by oneDNN; on another device or in half precision it is ``nn.Linear``."""

    def forward(self, input: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        return linear(input, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x (..., K) times the transpose of weight (N, K), plus bias (N,), as ``torch.nn.functional.linear``."""
    in_float32 = x.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    some = x.numel() > 0  # oneDNN refuses to multiply nothing
    if some and in_float32 and x.device.type == "cpu" and torch.backends.mkldnn.is_available():
        return _Product.apply(x, weight, bias)
    return functional.linear(x, weight, bias)


def through_onednn(module: nn.Module) -> None:
    """Make every ``nn.Linear`` inside ``module`` a :class:`OneDNNLinear`, in place; parameters and names stay."""
    for layer in module.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = OneDNNLinear


def _product(first: Tensor, second: Tensor, bias: Tensor | None = None) -> Tensor:
    """first (..., K) times the transpose of second (N, K), plus bias (N,): what torch.compile makes of a linear."""
    return torch.ops.mkldnn._linear_pointwise(first, second, bias, "none", [], "")


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = _product(gradient, weight.T)
        rows, inputs = gradient.flatten(0, -2), x.flatten(0, -2)
        if ctx.needs_input_grad[1]:
            # Of the two ways to write the product, the faster one: its larger side comes last.
            taller = weight.shape[0] > weight.shape[1]
            of_weight = _product(inputs.T, rows.T).T if taller else _product(rows.T, inputs.T)
        if ctx.needs_input_grad[2]:
            of_bias = rows.sum(0)
        return of_x, of_weight, of_bias
