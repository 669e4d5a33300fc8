"""RoCL, ACL and CLAE: what their attacks climb, and the loss of a step (specification of SwARo, sections 2 and 6)."""

import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from training_cases import make_method, step_of, train_on, views_of

from contrastbench.attacks.training import training_attack
from contrastbench.methods import Batch, Method
from contrastbench.models.batchnorm import branch

IMAGES = 32
# RoCL in both of its equivalent forms; a second weight where the method has one.
CASES = [
    ("rocl", {}),
    ("rocl", {"reforward_target": False}),
    ("rocl", {"regularization": 0.5}),
    ("acl", {}),
    ("clae", {}),
    ("clae", {"weight": 0.25}),
]
every_case = pytest.mark.parametrize(
    ("name", "settings"), CASES, ids=[f"{name}{changes or ''}" for name, changes in CASES]
)


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
    return method.zero_grad() or method


def project(method: Method, images: Tensor, stream: str) -> Tensor:
    """The projection of ``images``, through one BatchNorm branch where the method has two."""
    with branch(method, stream):
        return method.projector(method.encoder(images)).output


def step_and_its_attack(method: Method, batch: Batch) -> tuple[dict[str, Tensor], list[Tensor]]:
    """What training_step returns, and the adversarial views that it trains on: whatever is no view of the batch."""
    seen: list[Tensor] = []

    def remember(module: torch.nn.Module, inputs: tuple[Tensor]) -> None:
        if module.training:  # the attack's own passes run in eval mode
            seen.extend(inputs[0].detach().clone().split(IMAGES))

    with method.encoder.register_forward_pre_hook(remember):
        output = method.training_step(batch, step_of(0))
    adversarial: list[Tensor] = []
    for view in seen:
        if not any(torch.equal(view, known) for known in (*batch.views, *adversarial)):
            adversarial.append(view)
    return output, adversarial


def attacked_loss(method: Method, batch: Batch, x: Tensor) -> Tensor:
    """What the attack of a method in eval mode maximises; ``x`` holds view 1 perturbed, for ACL both views."""
    first, second = batch.views
    temperature = method.settings.temperature
    z = project(method, x, "adversarial")
    if method.__class__.__name__ == "RoCL":  # the perturbed view 1 against view 2
        return contrast(z, project(method, second, "adversarial"), temperature=temperature, one_sided=True)
    if method.__class__.__name__ == "ACL":  # both perturbed views against each other
        return contrast(*z.split(IMAGES), temperature=temperature)
    anchor = project(method, first, "adversarial").detach()  # CLAE: the perturbed view 1 against itself
    return contrast(anchor, z, temperature=temperature)


def attacked_images(name: str, batch: Batch) -> Tensor:
    """The images that a method perturbs: view 1, for ACL both views at once."""
    return torch.cat(batch.views) if name == "acl" else batch.views[0]


@every_case
def test_attack_raises_the_methods_own_loss_by_more_than_noise_of_the_same_radius_does(name, settings):
    method = trained(name, **settings)
    twin, batch = copy.deepcopy(method).eval(), views_of(method, IMAGES)
    images, eps = attacked_images(name, batch), method.settings.eps
    adversarial = torch.cat(step_and_its_attack(method, batch)[1])
    assert adversarial.shape == images.shape and (adversarial - images).abs().max() <= eps + 1e-6
    generator = torch.Generator().manual_seed(0)
    noise = [eps * torch.randn(images.shape, generator=generator).sign() for _ in range(5)]  # corners of the ball
    with torch.no_grad():
        clean = attacked_loss(twin, batch, images)
        noisy = max(attacked_loss(twin, batch, (images + delta).clamp(0, 1)) for delta in noise)
        print(name, settings, clean.item(), noisy.item(), attacked_loss(twin, batch, adversarial).item())
        assert attacked_loss(twin, batch, adversarial) - clean > 2 * max(noisy - clean, 0) + 0.01


@every_case
def test_attack_takes_the_methods_steps_on_its_own_loss(name, settings):
    """The same attack on a twin with the loss from its definition; CLAE's is FGSM: one step of eps from the image."""
    method = trained(name, **settings)
    twin, batch = copy.deepcopy(method), views_of(method, IMAGES)
    adversarial = torch.cat(step_and_its_attack(method, batch)[1])
    known = twin.settings
    how = {"step_size": known.eps, "steps": 1, "start": "image"}
    if name != "clae":
        how = {"step_size": known.step_size, "steps": known.steps, "start": "uniform"}
    expected = training_attack(
        twin, attacked_images(name, batch), lambda x: attacked_loss(twin, batch, x), eps=known.eps,
        generator=step_of(0).generator, **how,
    )  # fmt: skip
    # Rounding may turn the sign of a gradient that is nearly zero.
    print(((adversarial - expected).abs() > 1e-5).float().mean())
    assert ((adversarial - expected).abs() > 1e-5).float().mean() < 0.01


def rocl_loss(twin: Method, batch: Batch, adversarial: list[Tensor]) -> Tensor:
    """NT-Xent over (view 1, view 2, adversarial) + 1/256 NT-Xent(adversarial, view 2), each group in one pass."""
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


def test_weights_are_the_published_ones():
    """RoCL's regulariser counts 1/256, CLAE's adversarial term as much as the clean one."""
    assert make_method("rocl").settings.regularization == 1 / 256
    assert make_method("clae").settings.weight == 1
