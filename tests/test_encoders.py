"""Encoders, projection head and dual BatchNorm."""

import pytest
import torch
from torch import nn

from contrastbench.models.batchnorm import DualBatchNorm, branch, with_dual_batchnorm
from contrastbench.models.encoders import build_encoder
from contrastbench.models.heads import ProjectionHead
from contrastbench.params.images import EncoderParams, ProjectorParams


def encoder(architecture="resnet-slim", width=16, stem_stride=1, channels=3):
    torch.manual_seed(0)
    return build_encoder(EncoderParams(architecture=architecture, width=width, stem_stride=stem_stride), channels)


@pytest.mark.parametrize(("channels", "stem_stride"), [(1, 2), (3, 1)])
@pytest.mark.parametrize(("architecture", "width"), [("resnet-slim", 8), ("resnet18", 8), ("resnet50", 4)])
def test_shapes_and_gradients_for_grey_and_colour(architecture, width, stem_stride, channels):
    model = encoder(architecture, width, stem_stride, channels)
    features = model(torch.rand(4, channels, 28, 28))
    assert features.shape == (4, model.features)
    features.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_stem_stride_halves_the_resolution_of_the_first_stage():
    for stride, expected in ((1, 32), (2, 16)):
        for model in (encoder(stem_stride=stride).trunk[0], encoder("resnet18", 8, stride).trunk.conv1):
            assert model(torch.rand(1, 3, 32, 32)).shape[-2:] == (expected, expected)


@pytest.mark.parametrize("architecture", ["resnet18", "resnet50"])
def test_published_width_is_torchvisions_network_with_the_cifar_stem(architecture):
    """Same parameters by name and shape as torchvision's, but for the stem and the classifier; no max-pool."""
    from torchvision import models

    with torch.device("meta"):  # shapes only
        ours, theirs = encoder(architecture, 64).trunk, getattr(models, architecture)()
    mine = {name: p.shape for name, p in ours.named_parameters()}
    official = {name: p.shape for name, p in theirs.named_parameters() if not name.startswith("fc.")}
    assert mine.pop("conv1.weight") == (64, 3, 3, 3)
    official.pop("conv1.weight")
    assert mine == official
    assert isinstance(ours.maxpool, nn.Identity)
    assert ours.layer4[-1].bn2.num_features == 512


def test_published_width_computes_what_torchvision_computes():
    from torchvision import models

    ours, theirs = encoder("resnet18", 64).eval(), models.resnet18().eval()
    theirs.conv1, theirs.maxpool, theirs.fc = ours.trunk.conv1, nn.Identity(), nn.Identity()
    theirs.load_state_dict(ours.trunk.state_dict())
    images = torch.rand(2, 3, 32, 32)
    mean = torch.tensor([0.4914, 0.4822, 0.4465]).view(1, 3, 1, 1)
    std = torch.tensor([0.2023, 0.1994, 0.2010]).view(1, 3, 1, 1)
    torch.testing.assert_close(ours(images), theirs((images - mean) / std))


def test_slim_network_has_78_thousand_parameters_at_width_16():
    assert 77_000 < sum(p.numel() for p in encoder().parameters()) < 79_000


def test_normalisation_is_inside_and_fixed():
    model = encoder(channels=1)
    assert {"normalize.mean", "normalize.std"} <= set(model.state_dict())
    assert "normalize.mean" not in dict(model.named_parameters())
    torch.testing.assert_close(
        model.normalize(torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1, 1)).flatten(), torch.tensor([-1.0, 0.0, 1.0])
    )


def test_weights_depend_on_the_seed_alone():
    first, second = encoder().state_dict(), encoder().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_head_exposes_the_input_of_its_last_layer():
    torch.manual_seed(0)
    head = ProjectionHead(12, ProjectorParams(hidden=7, output=5))
    hidden, output = head(torch.randn(6, 12))
    assert hidden.shape == (6, 7) and output.shape == (6, 5)
    assert (hidden >= 0).all()
    torch.testing.assert_close(output, hidden @ head.last.weight.T + head.last.bias)
    assert head.body[0].bias is None and head.last.bias is not None


def test_dual_batchnorm_keeps_the_branches_apart():
    plain = encoder(width=4)
    batchnorms = sum(isinstance(m, nn.BatchNorm2d) for m in plain.modules())
    images, other = torch.rand(8, 3, 16, 16), torch.rand(8, 3, 16, 16) * 0.1
    expected = plain.train()(images)
    model = with_dual_batchnorm(encoder(width=4)).train()
    duals = [m for m in model.modules() if isinstance(m, DualBatchNorm)]
    assert len(duals) == batchnorms > 0

    torch.testing.assert_close(model(images), expected)  # the clean branch is the network as it was
    clean = duals[0].clean.running_mean.clone()
    with branch(model, "adversarial"):
        torch.testing.assert_close(model(images), expected)  # equal weights at first
        with branch(model, "clean"):
            assert all(dual.active == "clean" for dual in duals)
        model(other).sum().backward()
    assert all(dual.active == "clean" for dual in duals)
    assert torch.equal(duals[0].clean.running_mean, clean)
    assert not torch.equal(duals[0].adversarial.running_mean, clean)
    assert duals[0].clean.weight.grad is None and duals[0].adversarial.weight.grad is not None


def test_dual_batchnorm_converts_once_and_survives_the_state_dict():
    model = with_dual_batchnorm(ProjectionHead(4, ProjectorParams(hidden=3, output=2)))
    again = with_dual_batchnorm(model)
    assert sum(isinstance(m, DualBatchNorm) for m in again.modules()) == 1
    assert {"body.1.clean.weight", "body.1.adversarial.running_var"} <= set(again.state_dict())
    with pytest.raises(ValueError, match="dirty"), branch(model, "dirty"):
        pass


def test_the_branch_is_put_back_after_an_error():
    model = with_dual_batchnorm(nn.Sequential(nn.BatchNorm1d(2)))
    with pytest.raises(RuntimeError), branch(model, "adversarial"):
        raise RuntimeError
    assert model[0].active == "clean"
