"""Foolbox's attacks as the suite runs them, and the recount that keeps them honest."""

from pathlib import Path

import foolbox
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from contrastbench.attacks.autoattack import Settings, autoattack
from contrastbench.attacks.foolbox_attacks import ATTACKS, run_foolbox
from contrastbench.attacks.pgd import pgd
from contrastbench.attacks.recount import recount
from contrastbench.errors import UserError
from contrastbench.params.root import load

REPOSITORY = Path(__file__).resolve().parent.parent

EPS = {"linf": 0.15, "l2": 0.9, "l1": 6.0}


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.tensor(load_digits().images[1200:1230] / 16, dtype=torch.float32).unsqueeze(1)


@pytest.fixture(scope="module")
def labels() -> torch.Tensor:
    return torch.tensor(load_digits().target[1200:1230])


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """Logistic regression on pixels by 60 steps of Adam: linear, so that its true l2 distances are known."""
    data = load_digits()
    x, y = torch.tensor(data.images[:1000] / 16, dtype=torch.float32).flatten(1), torch.tensor(data.target[:1000])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        linear = nn.Linear(64, 10)
    optimizer = torch.optim.Adam(linear.parameters(), 3e-2)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(linear(x), y).backward()
        optimizer.step()
    return nn.Sequential(nn.Flatten(), linear).eval().requires_grad_(False)


def run(name: str, model: nn.Module, images: torch.Tensor, labels: torch.Tensor, seed: int = 0):
    attack = ATTACKS[name]
    eps = None if attack.minimal else EPS[attack.norm]
    steps = {"hopskipjump": 4, "cw": 60, "deepfool": 50, "ddn": 100}.get(name, 20)
    step_size = {"cw": 0.1, "pgd-linf": EPS["linf"] / 4, "pgd-l1": EPS["l1"] / 4}.get(name)
    return run_foolbox(name, model, images, labels, seed=seed, eps=eps, steps=steps, step_size=step_size)


@pytest.mark.parametrize("name", list(ATTACKS))
def test_every_attack_is_valid_seeded_and_breaks_something(
    name: str, model: nn.Module, images: torch.Tensor, labels: torch.Tensor
) -> None:
    before = torch.random.get_rng_state()
    adversarial, counted = run(name, model, images, labels)
    again, _ = run(name, model, images, labels)
    assert torch.equal(adversarial, again), "the seed must determine the result"
    assert torch.equal(before, torch.random.get_rng_state()), "the global generator must be restored"
    assert bool(counted.valid.all())
    assert torch.equal(counted.broken, (model(adversarial).argmax(1) != labels) | (model(images).argmax(1) != labels))
    assert int((counted.broken & (model(images).argmax(1) == labels)).sum()) >= 3


@pytest.mark.parametrize(("norm", "theirs"), [("linf", foolbox.attacks.LinfPGD), ("l1", foolbox.attacks.L1PGD)])
def test_pgd_takes_the_step_that_it_is_given(norm: str, theirs: type, model: nn.Module, images, labels) -> None:
    for share in (0.25, 0.02):
        ours, _ = run_foolbox(
            f"pgd-{norm}", model, images, labels, seed=3, eps=EPS[norm], steps=5, step_size=share * EPS[norm]
        )
        with torch.random.fork_rng():
            torch.manual_seed(3)
            attack = theirs(rel_stepsize=share, steps=5)
            expected = attack(foolbox.PyTorchModel(model, bounds=(0, 1)), images, labels, epsilons=EPS[norm])[1]
        torch.testing.assert_close(ours, expected, atol=1e-6, rtol=0)


def test_minimal_distances_against_the_exact_distance_of_a_linear_model(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor
) -> None:
    """Without the box, min over k of (z_y - z_k) / |w_y - w_k| is the l2 distance; the box only adds to it."""
    logits, weight = model(images), model[1].weight
    gap = logits.gather(1, labels[:, None]) - logits
    slope = torch.linalg.vector_norm(weight[labels][:, None] - weight[None], dim=2)
    exact = (gap / slope.clamp_min(1e-9)).scatter(1, labels[:, None], float("inf")).amin(1).clamp_min(0)
    right = exact > 0
    for name, factor in (("deepfool", 2.0), ("cw", 1.5), ("ddn", 1.5), ("hopskipjump", 8.0)):
        distance = run(name, model, images, labels)[1].distance
        assert bool((distance[right] >= exact[right] - 1e-4).all()), name
        assert float((distance[right] / exact[right]).median()) < factor, name
        assert bool((distance[~right] == 0).all())


@pytest.mark.parametrize(("preset", "dataset"), [("default", "mnist5k"), ("cifar", "cifar10"), ("paper", "cifar10")])
def test_the_presets_searches_reach_small_distances_too(preset: str, dataset: str) -> None:
    """On a photograph-like image (pixels away from 0 and 1), 0.05 from the boundary: 30 steps of DDN, which shrink its
    radius of 1 by 5 % each, or C&W with a step of 0.1 would report several times that."""
    suite = load(preset, REPOSITORY).swaro.robustness
    budget = suite.budget(dataset)
    generator = torch.Generator().manual_seed(0)
    images = 0.3 + 0.4 * torch.rand(8, 1, 16, 16, generator=generator)
    linear = nn.Linear(256, 2)
    with torch.no_grad():
        linear.weight.copy_(torch.randn(2, 256, generator=generator))
        slope = torch.linalg.vector_norm(linear.weight[0] - linear.weight[1])

    class Near(nn.Module):
        """Class 0 for each image, 0.05 away from class 1."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            moved = (x - images[: len(x)]).flatten(1) @ (linear.weight[1] - linear.weight[0])
            return torch.stack([torch.zeros_like(moved), moved - 0.05 * slope], 1)

    labels = torch.zeros(8, dtype=torch.long)
    for name in ("deepfool", "ddn", "cw"):
        if name == "cw" and dataset == "mnist5k":
            continue  # its step is for digits, whose pixels are mostly 0 or 1
        steps, step_size = getattr(suite.steps, name), budget.carlini_wagner_step
        distance = run_foolbox(name, Near().eval(), images, labels, seed=0, steps=steps, step_size=step_size)[
            1
        ].distance
        assert 0.0499 < float(distance.median()) < 0.06, (name, distance)


def test_newtonfool_of_nan_is_not_a_success(labels: torch.Tensor, images: torch.Tensor) -> None:
    """Foolbox's NewtonFool divides by a gradient norm that is zero here and counts images of NaN as fooled."""

    class Flat(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.one_hot(labels[: len(x)], 10).float() * 9 + 0 * x.flatten(1).sum(1, keepdim=True)

    model = Flat().eval()
    with torch.random.fork_rng():
        wrapped = foolbox.PyTorchModel(model, bounds=(0, 1))
        adversarial = foolbox.attacks.NewtonFoolAttack(steps=3)(wrapped, images, labels, epsilons=None)[0]
    counted = recount(model, images, adversarial, labels, eps=None, norm="l2")
    assert not bool(torch.isfinite(adversarial).all())
    assert not bool(counted.broken.any()) and not bool(counted.valid.all())


def test_recount_refuses_what_leaves_the_ball_the_bounds_or_the_numbers(model: nn.Module, images, labels) -> None:
    right = model(images).argmax(1) == labels
    x, y = images[right][:1], labels[right][:1]
    broken, _ = run("pgd-linf", model, images[right], labels[right])
    fooling = broken[model(broken).argmax(1) != labels[right]][:1]
    origin = images[right][model(broken).argmax(1) != labels[right]][:1]
    target = labels[right][model(broken).argmax(1) != labels[right]][:1]

    def count(adversarial: torch.Tensor, eps: float | None = EPS["linf"], norm: str = "linf"):
        return recount(model, origin, adversarial, target, eps=eps, norm=norm)

    assert bool(count(fooling).broken) and bool(count(fooling).valid)
    assert not bool(count(fooling, eps=0.01).broken), "outside the ball"
    assert not bool(count(fooling, eps=0.05, norm="l2").broken), "outside the l2 ball"
    assert not bool(count(fooling - 5, eps=None).valid), "below the bounds"
    assert not bool(count(fooling + 5, eps=None).valid), "above the bounds"
    assert not bool(count(fooling * float("nan")).broken), "not a number"
    unmoved = recount(model, x, x, y, eps=0.1, norm="linf")
    assert not bool(unmoved.broken) and torch.isinf(unmoved.distance).all()
    wrong = recount(model, x, x, (y + 1) % 10, eps=0.1, norm="linf")
    assert bool(wrong.broken) and float(wrong.distance) == 0


def test_gradient_attacks_refuse_a_model_without_gradients(images: torch.Tensor, labels: torch.Tensor, model) -> None:
    class BlackBox(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                return model(x)

    box = BlackBox().eval()
    for name, attack in ATTACKS.items():
        if attack.needs_gradients:
            with pytest.raises(UserError, match="needs gradients"):
                run(name, box, images, labels)
    assert bool(run("hopskipjump", box, images, labels)[1].broken.all())


def test_hopskipjump_on_a_model_of_one_class_breaks_nothing(images: torch.Tensor) -> None:
    constant = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).eval().requires_grad_(False)
    constant[1].weight.zero_()
    constant[1].bias.copy_(torch.tensor([9.0, 0.0]))
    labels = torch.zeros(len(images), dtype=torch.long)
    adversarial, counted = run_foolbox("hopskipjump", constant, images, labels, seed=0, steps=4)
    assert torch.equal(adversarial, images) and bool(counted.valid.all())
    assert not bool(counted.broken.any()) and bool(torch.isinf(counted.distance).all())


def test_probabilities_are_refused_by_every_way_to_attack(model: nn.Module, images, labels) -> None:
    probabilities = nn.Sequential(model, nn.Softmax(1)).eval()
    ways = {
        "pgd": lambda: pgd(
            probabilities, images, labels, eps=0.1, steps=1, step_size=0.01, generator=torch.Generator()
        ),
        "pgd that knows the mistakes": lambda: pgd(
            probabilities,
            images,
            labels,
            eps=0.1,
            steps=1,
            step_size=0.01,
            misclassified=torch.zeros(len(images), dtype=torch.bool),
            generator=torch.Generator(),
        ),
        "AutoAttack": lambda: autoattack(
            probabilities, images, labels, Settings(eps=0.1), seed=0, device=torch.device("cpu")
        ),
    } | {name: lambda name=name: run(name, probabilities, images, labels) for name in ATTACKS}
    for way in ways.values():
        with pytest.raises(UserError, match="returns probabilities"):
            way()
