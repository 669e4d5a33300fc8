"""DynACL: its schedules against the published script's lines, and one step against a loop on a twin network."""

import copy

import pytest
import torch
from conftest import REPOSITORY
from torch.nn import functional
from training_cases import AUGMENT, make_method, step_of, train_on, views_of

from contrastbench.augment.images import augment_images
from contrastbench.methods import Method, Step
from contrastbench.methods.dynacl import annealed_strength, weakened
from contrastbench.models.batchnorm import branch
from contrastbench.params.images import AugmentParams
from contrastbench.params.root import load

IMAGES = 16


def at(number: int, total: int = 1000) -> Step:
    return Step(number, total, 1, torch.Generator().manual_seed(number))


def test_strength_is_that_of_the_published_script():
    """1,000 epochs of one step; the script sets the strength in epochs 1, 51, 101, ... to 1 - (epoch - 1) / 1000."""
    strength = None
    for epoch in range(1, 1001):
        if epoch % 50 == 1:
            strength = 1 - (epoch - 1) / 1000
        assert annealed_strength(at(epoch - 1), stages=20) == pytest.approx(strength)


@pytest.mark.parametrize("strength", [1.0, 0.4, 0.0])
def test_the_weakened_augmentation_is_that_of_the_published_script(strength):
    full = AugmentParams(
        crop_scale=(0.1, 1.0), crop_ratio=(0.75, 1.3333), flip_probability=0.5, jitter_probability=0.8, brightness=0.4,
        contrast=0.4, saturation=0.4, hue=0.1, grayscale_probability=0.2, blur_probability=0.5, blur_kernel=3,
        blur_sigma=(0.1, 2.0),
    )  # fmt: skip
    found = weakened(full, strength)
    assert found.crop_scale == pytest.approx((1 - 0.9 * strength, 1.0))
    jitter = (found.brightness, found.contrast, found.saturation, found.hue)
    assert jitter == pytest.approx((0.4 * strength, 0.4 * strength, 0.4 * strength, 0.1 * strength))
    assert found.jitter_probability == pytest.approx(0.8 * strength)
    assert found.grayscale_probability == pytest.approx(0.2 * strength)
    assert found.blur_probability == pytest.approx(0.5 * strength)
    kept = {"crop_ratio", "flip_probability", "blur_kernel", "blur_sigma"}
    assert found.model_dump(include=kept) == full.model_dump(include=kept)
    AugmentParams.model_validate(found.model_dump())


def test_views_become_the_images_themselves():
    batch = views_of(make_method("dynacl"), IMAGES)
    assert not batch.views
    view = augment_images(batch.clean, weakened(AUGMENT, 0.0), torch.Generator().manual_seed(0))
    torch.testing.assert_close(view, batch.clean)


def trained(**settings: object) -> Method:
    method = make_method("dynacl", **settings)
    train_on(method, steps=5)
    method.zero_grad()
    return method


def contrast(method: Method, views: torch.Tensor, stream: str) -> torch.Tensor:
    """NT-Xent in float64: view 1 through the online network, view 2 through the momentum copy."""
    first, second = views.split(IMAGES)
    with branch(method, stream):
        online = method.online_projector(method.online_encoder(first)).output
        copied = method.projector(method.encoder(second)).output
    z = functional.normalize(torch.cat([online, copied]).double(), dim=1)
    similarity = (z @ z.T / method.settings.temperature).fill_diagonal_(-torch.inf)
    own = (torch.arange(2 * IMAGES) + IMAGES) % (2 * IMAGES)
    return -similarity.log_softmax(1)[torch.arange(2 * IMAGES), own].mean()


@pytest.mark.parametrize("number", [0, 620])
def test_a_step_is_the_published_loop(number):
    """Attack, loss and gradients; at step 620 of 1,000 the 20 stages have lowered the strength to 0.4."""
    method = trained()
    twin, batch = copy.deepcopy(method), views_of(method, IMAGES)
    strength = {0: 1.0, 620: 0.4}[number]
    seen = []
    hook = method.online_encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    output = method.training_step(batch, step_of(number))
    hook.remove()

    known, generator = twin.settings, step_of(number).generator
    clean = torch.cat([augment_images(batch.clean, weakened(AUGMENT, strength), generator) for _ in range(2)])
    delta = known.eps * (2 * torch.rand(clean.shape, generator=generator) - 1)
    twin.eval()
    for _ in range(known.steps):
        x = (clean + delta).requires_grad_()
        (gradient,) = torch.autograd.grad(contrast(twin, x, "adversarial"), x)
        delta = (delta + known.step_size * gradient.sign()).clamp(-known.eps, known.eps)
        delta = (clean + delta).clamp(0, 1) - clean
    # Different rounding may flip the sign of a gradient that is nearly zero.
    assert ((seen[-1] - (clean + delta)[:IMAGES]).abs() > 1e-5).float().mean() < 0.002
    torch.testing.assert_close(seen[-2], clean[:IMAGES])

    twin.train()
    shift = 2 / 3 * (1 - strength)
    clean_loss, adversarial_loss = contrast(twin, clean, "clean"), contrast(twin, clean + delta, "adversarial")
    expected = (1 - shift) / 2 * clean_loss + (1 + shift) / 2 * adversarial_loss
    assert output["loss"].item() == pytest.approx(expected.item(), rel=1e-4)
    output["loss"].backward()
    expected.backward()
    for (name, ours), theirs in zip(method.named_parameters(), twin.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None) == (not name.startswith("online_")), name
        if ours.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=5e-3, atol=1e-4)


def test_the_momentum_copy_follows_the_weights_and_not_the_statistics():
    method = make_method("dynacl", momentum=0.75)
    equal = zip(method.encoder.parameters(), method.online_encoder.parameters(), strict=True)
    assert all(torch.equal(copied, online) for copied, online in equal)
    with torch.no_grad():
        for parameter in (*method.online_encoder.parameters(), *method.online_projector.parameters()):
            parameter.add_(1.0)
    before = copy.deepcopy(method)
    method.after_backward(at(0))
    for part in ("encoder", "projector"):
        for new, old in zip(getattr(method, part).parameters(), getattr(before, part).parameters(), strict=True):
            torch.testing.assert_close(new, old + 0.25)
    assert all(torch.equal(a, b) for a, b in zip(method.buffers(), before.buffers(), strict=True))
    unchanged = zip(method.online_encoder.parameters(), before.online_encoder.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in unchanged)


def test_both_networks_keep_statistics_of_the_view_that_they_see():
    method = make_method("dynacl")
    method.training_step(views_of(method, IMAGES), step_of(0))
    means = [encoder.trunk[1].clean.running_mean for encoder in (method.encoder, method.online_encoder)]
    assert all(mean.abs().max() > 0 for mean in means) and not torch.equal(*means)


def test_settings_of_the_paper_are_the_published_ones():
    settings = load("paper", REPOSITORY).swaro.settings.dynacl
    assert (settings.stages, settings.momentum, settings.steps) == (20, 0.99, 5)
    assert (settings.eps, settings.step_size, settings.temperature) == (8 / 255, 2 / 255, 0.5)
    assert settings.reweighting == pytest.approx(2 / 3, abs=1e-6)
