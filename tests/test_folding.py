"""Folded classifiers return the logits of the original, which stays as it is; others are returned as they are."""

import copy

import pytest
import torch
from torch import Tensor, nn

from contrastbench.attacks.folding import folded
from contrastbench.evaluation.classifiers import Classifier
from contrastbench.jobs.classifiers import ready
from contrastbench.models.batchnorm import select_branch, with_dual_batchnorm
from contrastbench.models.encoders import build_encoder
from contrastbench.models.vit import AudioViT
from contrastbench.params.images import EncoderParams
from contrastbench.params.vit import ViTParams


def trained(net: nn.Module) -> nn.Module:
    """``net`` with statistics and affine parameters of BatchNorm that are not those of a fresh one."""
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low in (
                (module.running_mean, -1.0),
                (module.bias, -1.0),
                (module.running_var, 0.5),
                (module.weight, 0.5),
            ):
                tensor.data.copy_(low + torch.rand(tensor.shape, generator=generator) * 1.5)
    return net.eval()


def classifier(architecture: str, channels: int) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = build_encoder(EncoderParams(architecture=architecture, width=8, stem_stride=2), channels)
        return Classifier(trained(encoder), nn.Linear(encoder.features, 10)).eval()


def batch_norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.fixture
def images() -> Tensor:
    return torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("architecture", ["resnet-slim", "resnet18", "resnet50"])
def test_logits_and_gradients_are_the_originals(architecture: str, images: Tensor) -> None:
    model = ready(classifier(architecture, 3))
    state = copy.deepcopy(model.state_dict())
    faster = folded(model, images)
    assert batch_norms(model) > 0 and batch_norms(faster) == 0
    logits, gradients = [], []
    for each in (model.double(), faster.double()):
        x = images.double().requires_grad_()
        logits.append(each(x))
        gradients.append(torch.autograd.grad(logits[-1].logsumexp(1).sum(), x)[0])
    # Folded in float32, compared in float64: what differs is the rounding of the folded weights.
    torch.testing.assert_close(logits[1], logits[0], rtol=1e-4, atol=1e-5 * float(logits[0].detach().abs().max()))
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-4 * float(gradients[0].abs().max()))
    assert not any(parameter.requires_grad for parameter in faster.parameters())
    assert all(torch.equal(value.float(), state[name].float()) for name, value in model.state_dict().items())


def test_of_two_batchnorms_the_active_one_is_folded(images: Tensor) -> None:
    model = classifier("resnet-slim", 3)
    model.encoder.trunk = with_dual_batchnorm(model.encoder.trunk)
    for name, tensor in model.named_parameters():
        if ".adversarial." in name:
            tensor.data.add_(0.5)
    logits = {}
    for branch in ("clean", "adversarial"):
        select_branch(model, branch)
        faster = folded(model, images)
        assert batch_norms(faster) == 0
        logits[branch] = faster(images)
        torch.testing.assert_close(logits[branch], model(images), rtol=1e-3, atol=1e-4)
    assert not torch.allclose(*logits.values(), rtol=1e-2)


def test_models_that_cannot_be_folded_are_returned_as_they_are(images: Tensor) -> None:
    class LooksAtItsInput(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = classifier("resnet-slim", 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.encoder(x) if float(x.mean()) > 0 else self.encoder(-x)

    class OneConvolutionTwoNorms(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(3, 3, 1)
            self.first, self.second = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.convolution(self.first(self.convolution(x)))).mean((2, 3))

    vit = AudioViT(ViTParams(patch=4, width=16, depth=1, heads=2, readout="mean"), (3, 16, 16)).eval()
    for model in (LooksAtItsInput().eval(), trained(OneConvolutionTwoNorms()), vit):
        assert folded(model, images) is model
