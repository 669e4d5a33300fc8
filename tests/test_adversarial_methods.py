"""The training attack, the baselines' terms against naive references, and what a step costs."""

import math
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from training_cases import images_and_labels, make_method, step_of, train_on, views_of

from contrastbench.attacks.geometry import ImagePasses
from contrastbench.attacks.training import frozen, training_attack
from contrastbench.errors import UserError
from contrastbench.models.batchnorm import DualBatchNorm, branch
from contrastbench.objectives.classification import trades_loss
from contrastbench.objectives.contrastive import nt_xent
from contrastbench.objectives.instance_wise import multi_view_nt_xent

METHODS = ("simclr", "swav", "rocl", "acl", "clae", "dynacl", "a-infonce", "swaro", "supervised", "pgd-at", "trades")
ADVERSARIAL = ("rocl", "acl", "clae", "dynacl", "a-infonce", "swaro", "pgd-at", "trades")


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(144, 3))


def attack(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, **changes: object) -> torch.Tensor:
    settings: dict = {"eps": 0.1, "step_size": 0.03, "steps": 5, "generator": torch.Generator().manual_seed(0)}
    return training_attack(
        model,
        images,
        lambda x: functional.cross_entropy(model(x), labels, reduction="none"),
        **settings | changes,
    )


@pytest.mark.parametrize("start", ["uniform", "unclipped-uniform", "gaussian", "image"])
def test_attack_stays_in_ball_and_bounds_raises_the_loss_and_leaves_no_trace(start):
    model, images, labels = small_model(), torch.rand(8, 1, 8, 8), torch.arange(8) % 3
    images[0, 0, 0] = torch.tensor([0.0, 1.0] * 4)
    model[1].eval()  # a mode of its own, which must be restored
    model[4].bias.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    adversarial = attack(model, images, labels, start=start)
    assert not adversarial.requires_grad
    assert (adversarial - images).abs().max() <= 0.1 + 1e-6
    assert adversarial.min() >= 0 and adversarial.max() <= 1
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training and not model[1].training and model[0].training
    assert [p.requires_grad for p in model.parameters()] == [True, True, True, True, True, False]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.eval()
    assert functional.cross_entropy(model(adversarial), labels) > functional.cross_entropy(model(images), labels) + 0.05


def test_attack_equals_a_loop_over_foolbox_like_steps():
    """A naive loop with the model in eval mode; also shows that train mode would give a different result."""
    model, images, labels = small_model(), torch.rand(8, 1, 8, 8), torch.arange(8) % 3
    ours = attack(model, images, labels, start="image")
    model.eval()
    x = images.clone()
    for _ in range(5):
        x = x.detach().requires_grad_()
        functional.cross_entropy(model(x), labels, reduction="sum").backward()
        x = torch.min(torch.max(x.detach() + 0.03 * x.grad.sign(), images - 0.1), images + 0.1).clamp(0, 1)
    torch.testing.assert_close(ours, x, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("start", "reach", "clipped"),
    [("uniform", 0.1, True), ("unclipped-uniform", 0.1, False), ("gaussian", 0.0035, False), ("image", 0.0, True)],
)
def test_where_the_attack_starts(start, reach, clipped):
    """The images that the loss is first asked about: on a black image, half of the noise lies below 0."""
    asked, images = [], torch.zeros(4, 1, 8, 8)

    def ascend(x):
        asked.append(x.detach().clone())
        return x.sum()

    generator = torch.Generator().manual_seed(0)
    training_attack(small_model(), images, ascend, eps=0.1, step_size=0.03, steps=2, generator=generator, start=start)
    first, second = asked
    assert first.abs().max() == pytest.approx(reach, abs=0.1 * reach)
    assert (first.min() >= 0) == clipped
    assert second.min() >= 0 and second.max() <= 0.1 + 1e-6


def test_an_image_with_radius_zero_is_unchanged():
    model, images, labels = small_model(), torch.rand(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64)
    moved = attack(model, images, labels, eps=torch.tensor([0.0, 0.1, 0.0, 0.1])) - images
    assert moved.flatten(1).abs().amax(1)[[0, 2]].max() == 0
    assert moved.flatten(1).abs().amax(1)[[1, 3]].min() > 0.05


def test_frozen_may_leave_the_modes_alone():
    model = small_model()
    model[1].eval()
    with frozen(model, in_eval_mode=False):
        assert model.training and not model[1].training and not any(p.requires_grad for p in model.parameters())
    assert model.training and not model[1].training and all(p.requires_grad for p in model.parameters())


def test_mode_and_gradients_come_back_when_the_loss_fails():
    model = small_model()
    with pytest.raises(RuntimeError, match="out of order"), frozen(model):
        assert not model.training and not any(p.requires_grad for p in model.parameters())
        raise RuntimeError("out of order")
    assert all(module.training for module in model.modules())
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(("images", "eps"), [(torch.full((2, 1, 8, 8), 1.5), 0.1), (torch.rand(2, 1, 8, 8), -0.1)])
def test_meaningless_input_is_refused(images, eps):
    with pytest.raises(UserError, match=r"eps = -0\.1|attacks expect"):
        attack(small_model(), images, torch.zeros(2, dtype=torch.int64), eps=eps)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_on_digits(name):
    """The last losses are lower than the first by more than 0.1; over three seeds, by at least 0.19."""
    method = make_method(name)
    losses = train_on(method, steps=80 if name == "dynacl" else 40)  # half of whose network only follows
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.1
    assert all(torch.isfinite(value).all() for value in method.state_dict().values())


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_a_step_leaves_modes_and_gradients_as_they_were(name):
    method = make_method(name)
    learns = [p.requires_grad for p in method.parameters()]
    assert all(learns) or (name == "dynacl" and sum(learns) == len(learns) // 2)  # all but the momentum copy
    output = method.training_step(views_of(method, 16), step_of(0))
    assert all(module.training for module in method.modules())
    assert [p.requires_grad for p in method.parameters()] == learns
    assert all(p.grad is None for p in method.parameters())
    assert output["loss"].ndim == 0 and not output["embeddings"].requires_grad
    output["loss"].backward()
    # Both BatchNorm branches of ACL, CLAE and DynACL get gradients, the momentum copy gets none.
    assert [p.grad is not None for p in method.parameters()] == learns


# method -> (images per step of B with gradient, images forward only), in units of B
COST = {
    "simclr": (2, 0),
    "swav": (2, 0),
    "rocl": (7 * 2 + 3 + 2, 0),
    "acl": (5 * 2 + 4, 0),
    "clae": (1 + 3, 1),
    "dynacl": (5 * 2 + 2, 2),
    "a-infonce": (7 + 3 + 2, 1),
    "swaro": (7 + 2, 1),
    "supervised": (1, 0),
    "pgd-at": (7 + 1, 0),
    "trades": (7 + 2, 1),
}


@pytest.mark.parametrize("name", METHODS)
def test_image_passes_of_a_step(name):
    """Specification of SwARo, section 2: RoCL 19 B, ACL 14 B, SwAV and SimCLR 2 B, SwARo about 9.7 B."""
    attacks = name not in ("simclr", "swav", "clae", "supervised")
    settings: dict = {"steps": 5 if "acl" in name else 7} if attacks else {}
    if name == "rocl":
        settings["reforward_target"] = True
    method = make_method(name, **settings)
    with ExitStack() as stack:
        passes = [stack.enter_context(ImagePasses(network)) for network in method.networks()]
        method.training_step(views_of(method, 16), step_of(0))
    images, forward_only = sum(each.images for each in passes), sum(each.forward_only for each in passes)
    assert ((images - forward_only) / 16, forward_only / 16) == COST[name]


@pytest.mark.parametrize(("loss", "with_gradient"), [("replace", 9), ("add", 10), ("clean-codes", 10)])
def test_swaro_costs_what_the_specification_derives_less_one_forward_pass(loss, with_gradient):
    """The specification counts 9.7 B with a forward pass of both views for the codes; view 2's codes are enough."""
    method = make_method("swaro", loss=loss, steps=7)
    with ImagePasses(method.encoder) as passes:
        method.training_step(views_of(method, 16), step_of(0))
    assert passes.images - passes.forward_only == 16 * with_gradient
    cost = (passes.images - passes.forward_only + passes.forward_only / 3) / 16
    assert cost == pytest.approx(with_gradient + 1 / 3)


def test_rocl_without_forwarding_the_target_again_is_the_same_attack_for_less():
    method = make_method("rocl", steps=7)
    batch = views_of(method, 16)
    losses, costs = [], []
    for reforward in (True, False):
        method = make_method("rocl", steps=7, reforward_target=reforward)
        with ImagePasses(method.encoder) as passes:
            losses.append(float(method.training_step(batch, step_of(0))["loss"].detach()))
        costs.append(passes.images)
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)
    assert costs == [19 * 16, (7 + 1 + 5) * 16]


def test_multi_view_nt_xent_equals_a_loop_and_simclr_for_two_views():
    views = [torch.randn(4, 3, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    z = functional.normalize(torch.cat(views).double(), dim=1)
    total = 0.0
    for i in range(12):
        denominator = sum(math.exp(float(z[i] @ z[j]) / 0.5) for j in range(12) if j != i)
        for j in range(12):
            if j != i and j % 4 == i % 4:
                total -= math.log(math.exp(float(z[i] @ z[j]) / 0.5) / denominator)
    assert multi_view_nt_xent(views, temperature=0.5).item() == pytest.approx(total / 12, rel=1e-5)
    pair = multi_view_nt_xent(views[:2], temperature=0.5).item()
    assert pair == pytest.approx(nt_xent(*views[:2], temperature=0.5).item(), rel=1e-5)


def test_multi_view_nt_xent_lets_gradients_through_one_factor_only():
    views = [torch.randn(4, 3, generator=torch.Generator().manual_seed(seed)).requires_grad_() for seed in range(3)]
    ours = torch.autograd.grad(multi_view_nt_xent(views, temperature=0.5), views)
    z = functional.normalize(torch.cat(views), dim=1)
    similarity = z @ z.detach().T / 0.5
    kept = ~torch.eye(12, dtype=torch.bool)
    log_p = similarity - torch.log((similarity.exp() * kept).sum(1, keepdim=True))
    positive = kept & (torch.arange(12) % 4 == torch.arange(12).unsqueeze(1) % 4)
    theirs = torch.autograd.grad(-(log_p * positive).sum() / 12, views)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["acl", "clae", "dynacl"])
def test_the_two_batchnorm_branches_separate(name):
    """Weights are shared, statistics are not: after a few steps the branches differ, and so do their outputs."""
    method = make_method(name)
    layers = [layer for layer in method.modules() if isinstance(layer, DualBatchNorm)]
    assert layers and all(torch.equal(layer.clean.running_mean, layer.adversarial.running_mean) for layer in layers)
    train_on(method, steps=5)
    assert all((layer.clean.running_mean - layer.adversarial.running_mean).abs().max() > 1e-4 for layer in layers)
    assert any((layer.clean.weight - layer.adversarial.weight).abs().max() > 1e-4 for layer in layers)
    method.eval()
    images = images_and_labels(8)[0]
    features = {}
    for name_of_branch in ("clean", "adversarial"):
        with branch(method, name_of_branch), torch.no_grad():
            features[name_of_branch] = method.encoder(images)
    assert (features["clean"] - features["adversarial"]).abs().max() > 1e-3
    at_rest = "clean" if name == "clae" else "adversarial"
    torch.testing.assert_close(method.encoder(images), features[at_rest])


def test_the_attack_never_moves_batchnorm_statistics():
    method = make_method("acl")
    before = {name: value.clone() for name, value in method.named_buffers()}
    both = torch.cat(views_of(method, 16).views)
    training_attack(
        method,
        both,
        lambda x: nt_xent(*method.project(x).output.chunk(2), temperature=0.5),
        eps=0.1,
        step_size=0.03,
        steps=2,
        generator=torch.Generator().manual_seed(0),
    )
    assert all(torch.equal(value, before[name]) for name, value in method.named_buffers())


def test_trades_loss_equals_a_loop():
    generator = torch.Generator().manual_seed(0)
    clean, adversarial = torch.randn(2, 5, 3, generator=generator)
    labels = torch.tensor([0, 1, 2, 0, 1])
    total = 0.0
    for row in range(5):
        p = [math.exp(value) for value in clean[row].tolist()]
        q = [math.exp(value) for value in adversarial[row].tolist()]
        p, q = [value / sum(p) for value in p], [value / sum(q) for value in q]
        total -= math.log(p[labels[row]])
        total += 6 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert trades_loss(clean, adversarial, labels, beta=6.0).item() == pytest.approx(total / 5, rel=1e-5)


def test_pgd_at_minimises_the_cross_entropy_of_attacked_images_and_trades_of_both():
    """The step's loss, taken apart: the same attack from the same generator, then the terms by hand."""
    for name in ("pgd-at", "trades"):
        method, twin = make_method(name), make_method(name)
        batch = views_of(method, 16)
        loss = method.training_step(batch, step_of(0))["loss"]
        view, labels, settings = batch.views[0], batch.labels, twin.settings
        with torch.no_grad(), frozen(twin):
            predicted = twin.logits(view).softmax(1)

        def ascend(x, twin=twin, name=name, labels=labels, predicted=predicted):
            log_q = twin.logits(x).log_softmax(1)
            return -log_q[range(16), labels] if name == "pgd-at" else (predicted * (predicted.log() - log_q)).sum(1)

        start = "uniform" if name == "pgd-at" else "gaussian"
        x = training_attack(
            twin, view, ascend, eps=settings.eps, step_size=settings.step_size, steps=settings.steps,
            generator=step_of(0).generator, start=start,
        )  # fmt: skip
        if name == "pgd-at":
            expected = -twin.logits(x).log_softmax(1)[range(16), labels].mean()
        else:
            p, log_q = twin.logits(view).softmax(1), twin.logits(x).log_softmax(1)
            kl = (p * (p.log() - log_q)).sum(1)
            expected = (-p.log()[range(16), labels] + settings.beta * kl).mean()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-4)  # 1e-3 from another start
