"""Linear layers by oneDNN: the same function and gradients as torch's, in float32 on the CPU alone."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from uamix_cases import smallest_track

from contrastbench.methods import method_class
from contrastbench.models.linear import OneDNNLinear, through_onednn


class Operators(TorchDispatchMode):
    """The names of the operators that ran."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.name())
        return func(*args, **kwargs or {})

    @property
    def by_onednn(self) -> bool:
        assert not ("mkldnn::_linear_pointwise" in self.names and {"aten::addmm", "aten::mm"} & set(self.names))
        return "mkldnn::_linear_pointwise" in self.names


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("shape", "outputs"), [((7, 5), 9), ((3, 4, 12), 6), ((1, 8), 8), ((2, 3, 2, 5), 1)])
def test_values_and_gradients_are_those_of_float64(shape, outputs, bias):
    torch.manual_seed(0)
    layer = nn.Linear(shape[-1], outputs, bias=bias)
    exact = copy.deepcopy(layer).double()
    through_onednn(layer)
    x = torch.randn(*shape).transpose(0, 0).requires_grad_()
    x_exact = x.detach().double().requires_grad_()
    slope = torch.randn(*shape[:-1], outputs)
    with Operators() as operators:
        y = layer(x)
        (y * slope).sum().backward()
    assert operators.by_onednn
    y_exact = exact(x_exact)
    (y_exact * slope).sum().backward()
    torch.testing.assert_close(y.double(), y_exact, rtol=0, atol=2e-6)
    torch.testing.assert_close(x.grad.double(), x_exact.grad, rtol=0, atol=2e-6)
    for found, wanted in zip(layer.parameters(), exact.parameters(), strict=True):
        torch.testing.assert_close(found.grad.double(), wanted.grad, rtol=0, atol=5e-6)


def test_no_row_has_no_gradient():
    layer = OneDNNLinear(6, 4)
    y = layer(torch.empty(3, 0, 6))
    y.sum().backward()
    assert y.shape == (3, 0, 4)
    assert torch.equal(layer.weight.grad, torch.zeros(4, 6)) and torch.equal(layer.bias.grad, torch.zeros(4))


def test_inputs_and_gradients_need_not_be_contiguous():
    torch.manual_seed(0)
    layer = OneDNNLinear(6, 4)
    x = torch.randn(6, 5, 3).permute(2, 1, 0).requires_grad_()
    y = layer(x)
    torch.testing.assert_close(y, functional.linear(x, layer.weight, layer.bias))
    slope = torch.randn(4, 5, 3).permute(2, 1, 0)
    found = torch.autograd.grad(y, [x, *layer.parameters()], slope)
    wanted = torch.autograd.grad(functional.linear(x, layer.weight, layer.bias), [x, *layer.parameters()], slope)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_only_what_is_wanted_gets_a_gradient():
    layer = OneDNNLinear(3, 2).requires_grad_(False)
    x = torch.randn(4, 3, requires_grad=True)
    with Operators() as operators:
        layer(x).sum().backward()
    assert operators.names.count("mkldnn::_linear_pointwise") == 2  # forward, and the gradient of x
    assert layer.weight.grad is None and x.grad is not None


@pytest.mark.parametrize("case", ["float64", "bfloat16", "autocast", "no oneDNN"])
def test_elsewhere_it_is_torch_s_own(case, monkeypatch):
    torch.manual_seed(0)
    plain = nn.Linear(4, 3)
    dtype = {"float64": torch.float64, "bfloat16": torch.bfloat16}.get(case, torch.float32)
    plain, x = plain.to(dtype), torch.randn(5, 4).to(dtype)
    ours = copy.deepcopy(plain)
    through_onednn(ours)
    if case == "no oneDNN":
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    with torch.autocast("cpu", torch.bfloat16, enabled=case == "autocast"), Operators() as operators:
        y = ours(x)
    with torch.autocast("cpu", torch.bfloat16, enabled=case == "autocast"):
        assert torch.equal(y, plain(x)) and y.dtype == plain(x).dtype
    assert not operators.by_onednn


@pytest.mark.parametrize("label", ["mae", "mae-joint", "uamix-mae"])
def test_every_linear_layer_of_the_audio_methods_goes_through_it(label):
    params = smallest_track().pretrain(label, "instruments")
    method = method_class(params.method).from_params(params, (1, 32, 16), 4)
    layers = [module for module in method.modules() if isinstance(module, nn.Linear)]
    assert len(layers) >= 16 and all(type(layer) is OneDNNLinear for layer in layers)
    assert copy.deepcopy(method).load_state_dict(method.state_dict())
