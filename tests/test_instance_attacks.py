"""RoCL, ACL and CLAE: what the attacks maximise, and the loss of a step (specification of SwARo, sections 2 and 6)."""

import copy

import pytest
import torch
from conftest import REPOSITORY
from torch import Tensor
from torch.nn import functional
from training_cases import make_method, step_of, train_on, views_of

from contrastbench.methods import Batch, Method
from contrastbench.models.batchnorm import branch
from contrastbench.params.root import load

IMAGES = 32
CASES = [
    ("rocl", {"reforward_target": True}),
    ("rocl", {"reforward_target": False, "regularization": 0.5}),  # the same attack, computed in another way
    ("acl", {}),
    ("clae", {}),
    ("clae", {"weight": 0.25}),
]
every_case = pytest.mark.parametrize(("name", "settings"), CASES)


def contrast(*views: Tensor, temperature: float, one_sided: bool = False) -> Tensor:
    """NT-Xent from its definition, in float64; ``one_sided`` keeps gradients from the second factor, as RoCL does."""
    z = functional.normalize(torch.cat(views).double(), dim=1)
    similarity = z @ (z.detach() if one_sided else z).T / temperature
    itself = torch.eye(len(z), dtype=torch.bool)
    image = torch.arange(len(z)) % len(views[0])
    log_p = similarity - similarity.masked_fill(itself, -torch.inf).logsumexp(1, keepdim=True)
    return -log_p[(image.unsqueeze(1) == image) & ~itself].sum() / len(z)


def trained(name: str, **settings: object) -> Method:
    """After five steps, so that the BatchNorm branches of ACL and CLAE differ."""
    method = make_method(name, **settings)
    train_on(method, steps=5)
    method.zero_grad()
    return method


def project(method: Method, images: Tensor, stream: str) -> Tensor:
    """The projection of ``images``, through one BatchNorm branch where the method has two."""
    with branch(method, stream):
        return method.projector(method.encoder(images)).output


def step_and_its_attack(method: Method, batch: Batch) -> tuple[dict[str, Tensor], list[Tensor]]:
    """What training_step returns, and the adversarial views that it trains on: inputs that are no view of the batch."""
    seen: list[Tensor] = []

    def remember(module: torch.nn.Module, inputs: tuple[Tensor]) -> None:
        if module.training:  # the attack's own passes run in eval mode; CLAE's, of views of the batch
            seen.extend(inputs[0].detach().clone().split(IMAGES))

    with method.encoder.register_forward_pre_hook(remember):
        output = method.training_step(batch, step_of(0))
    adversarial: list[Tensor] = []
    for view in seen:
        if not any(torch.equal(view, known) for known in (*batch.views, *adversarial)):
            adversarial.append(view)
    return output, adversarial


def attacked_images(name: str, batch: Batch) -> Tensor:
    """What a method perturbs: view 1, in ACL both views at once."""
    return torch.cat(batch.views) if name == "acl" else batch.views[0]


def attacked_loss(name: str, method: Method, batch: Batch, x: Tensor) -> Tensor:
    """What a method's attack maximises over perturbed images ``x``, through the adversarial BatchNorm."""
    first, second = batch.views
    temperature = method.settings.temperature
    z = project(method, x, "adversarial")
    if name == "rocl":  # the perturbed view 1 against view 2
        return contrast(z, project(method, second, "adversarial"), temperature=temperature, one_sided=True)
    if name == "acl":  # the two perturbed views against each other
        return contrast(*z.split(IMAGES), temperature=temperature)
    anchor = project(method, first, "adversarial").detach()  # CLAE: the perturbed view 1 against itself
    return contrast(anchor, z, temperature=temperature)


@every_case
def test_attack_raises_the_methods_own_loss_by_more_than_noise_of_the_same_radius_does(name, settings):
    """By more than twice as much as the worst of five random corners of the ball; 8 to 21 times measured."""
    method = trained(name, **settings)
    twin, batch = copy.deepcopy(method).train(name == "clae"), views_of(method, IMAGES)
    images, eps = attacked_images(name, batch), method.settings.eps
    adversarial = torch.cat(step_and_its_attack(method, batch)[1])
    assert adversarial.shape == images.shape and (adversarial - images).abs().max() <= eps + 1e-6
    assert (adversarial.min() < 0) == (name == "clae")  # which clips nothing
    generator = torch.Generator().manual_seed(0)
    corners = [eps * torch.randn(images.shape, generator=generator).sign() for _ in range(5)]
    with torch.no_grad():
        clean, attacked, *noisy = (
            attacked_loss(name, twin, batch, x).item()
            for x in (images, adversarial, *((images + noise).clamp(0, 1) for noise in corners))
        )
    assert attacked - clean > 2 * max(0, max(noisy) - clean) + 0.01


@every_case
def test_attack_is_the_published_loop_on_the_loss_of_the_definition(name, settings):
    """RoCL clips its random start to [0, 1] and ACL does not; CLAE takes one step from the image, in train mode."""
    method = trained(name, **settings)
    twin, batch = copy.deepcopy(method).train(name == "clae"), views_of(method, IMAGES)
    adversarial = torch.cat(step_and_its_attack(method, batch)[1])
    images, known = attacked_images(name, batch), twin.settings
    x, step_size, steps = images, known.eps, 1
    if name != "clae":
        draw = torch.rand(images.shape, generator=step_of(0).generator)
        x, step_size, steps = images + known.eps * (2 * draw - 1), known.step_size, known.steps
    if name == "rocl":
        x = x.clamp(0, 1)
    for _ in range(steps):
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(attacked_loss(name, twin, batch, x), x)
        x = x.detach() + step_size * gradient.sign()
        if name != "clae":
            x = torch.min(torch.max(x, images - known.eps), images + known.eps).clamp(0, 1)
    # Different rounding may flip the sign of a gradient that is nearly zero.
    assert ((adversarial - x).abs() > 1e-5).float().mean() < 0.002


def test_claes_adversarial_statistics_move_with_both_passes_of_its_attack_and_with_training():
    """By 0.01 each time: with view 1 twice, then with the adversarial view; the clean ones with both views, by 0.1."""
    method = make_method("clae")
    twin, batch = copy.deepcopy(method), views_of(method, IMAGES)
    _, (adversarial,) = step_and_its_attack(method, batch)
    first, second = batch.views
    stem = torch.nn.Sequential(twin.encoder.normalize, twin.encoder.trunk[0])
    moved = {"adversarial": (0.01, (first, first, adversarial)), "clean": (0.1, (first, second))}
    for stream, (momentum, seen) in moved.items():
        expected = torch.zeros(8)
        for images in seen:
            expected = (1 - momentum) * expected + momentum * stem(images).mean((0, 2, 3)).detach()
        torch.testing.assert_close(getattr(method.encoder.trunk[1], stream).running_mean, expected)


def rocl_loss(twin: Method, batch: Batch, adversarial: list[Tensor]) -> Tensor:
    """NT-Xent over (view 1, view 2, adversarial) + weight * NT-Xent(adversarial, view 2), each group in one pass."""
    temperature, (first, second), (attacked,) = twin.settings.temperature, batch.views, adversarial
    three = project(twin, torch.cat([first, second, attacked]), "clean").split(IMAGES)
    pair = project(twin, torch.cat([attacked, second]), "clean").split(IMAGES)
    loss, regularizer = (contrast(*views, temperature=temperature, one_sided=True) for views in (three, pair))
    return loss + twin.settings.regularization * regularizer


def acl_loss(twin: Method, batch: Batch, adversarial: list[Tensor]) -> Tensor:
    """1/2 [NT-Xent(clean pair, clean BatchNorm) + NT-Xent(adversarial pair, adversarial BatchNorm)]."""
    clean = project(twin, torch.cat(batch.views), "clean").split(IMAGES)
    attacked = project(twin, torch.cat(adversarial), "adversarial").split(IMAGES)
    temperature = twin.settings.temperature
    return 0.5 * contrast(*clean, temperature=temperature) + 0.5 * contrast(*attacked, temperature=temperature)


def clae_loss(twin: Method, batch: Batch, adversarial: list[Tensor]) -> Tensor:
    """NT-Xent(view 1, view 2) + alpha NT-Xent(view 1, adversarial); only the adversarial view has its BatchNorm."""
    first, second = (project(twin, view, "clean") for view in batch.views)
    attacked = project(twin, adversarial[0], "adversarial")
    temperature = twin.settings.temperature
    pair = contrast(first, second, temperature=temperature)
    return pair + twin.settings.weight * contrast(first, attacked, temperature=temperature)


@every_case
def test_loss_of_a_step_and_its_gradients_equal_the_formula(name, settings):
    method = trained(name, **settings)
    twin, batch = copy.deepcopy(method), views_of(method, IMAGES)
    output, adversarial = step_and_its_attack(method, batch)
    expected = {"rocl": rocl_loss, "acl": acl_loss, "clae": clae_loss}[name](twin, batch, adversarial)
    assert output["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    output["loss"].backward()
    expected.backward()
    for ours, theirs in zip(method.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_weights_are_the_published_ones(preset):
    """RoCL's regulariser has weight 1/256, CLAE's adversarial term the same weight as the clean one; its step is
    0.03 in pixels normalised by a mean and a deviation of 0.5."""
    settings = load(preset, REPOSITORY).swaro.settings
    assert settings.rocl.regularization == 1 / 256
    assert settings.clae.weight == 1
    assert settings.clae.eps == 0.03 * 0.5
