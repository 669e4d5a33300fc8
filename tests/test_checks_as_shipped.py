"""The checks at the numbers of images and steps of params.yaml: on honest models, masked ones and weak attacks."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from contrastbench.attacks.pgd import pgd
from contrastbench.errors import UserError
from contrastbench.evaluation.checks import failed_checks
from contrastbench.evaluation.robustness import Victim, evaluate, survivors
from contrastbench.evaluation.suite import AttackSpec, attacks_on
from contrastbench.evaluation.verdicts import PartialStore
from contrastbench.params.root import load

CPU = torch.device("cpu")
TRAINED_AT = 0.1  # the radius of training, and ``main`` of the suite
SUITE = load(root=REPOSITORY).swaro.robustness


def inputs(rows: np.ndarray, device: torch.device) -> Tensor:
    return torch.tensor(rows, device=device).permute(0, 3, 1, 2).float() / 255


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    data = load_digits()
    return (data.images * 15.9375).astype(np.uint8)[..., None], data.target


@pytest.fixture(scope="module")
def robust(digits: tuple) -> nn.Module:
    """TRADES at 0.1 with few epochs."""
    images, labels = inputs(digits[0][:1300], CPU), torch.tensor(digits[1][:1300])
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
        )
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(10):
        for chosen in torch.randperm(1300, generator=generator).split(100):
            x, y = images[chosen], labels[chosen]
            attack = {"eps": TRAINED_AT, "steps": 4, "step_size": TRAINED_AT / 3, "generator": generator}
            perturbed = pgd(net, x, y, active_set=False, **attack).images
            optimizer.zero_grad()
            clean = net(x)
            differ = functional.kl_div(net(perturbed).log_softmax(1), clean.softmax(1), reduction="batchmean")
            (functional.cross_entropy(clean, y) + 6 * differ).backward()
            optimizer.step()
    return net.eval().requires_grad_(False)


def victim_of(model: nn.Module, digits: tuple) -> Victim:
    return Victim(model, digits[0][1300:1600], digits[1][1300:1600], inputs, CPU, seed=0, batch_size=SUITE.batch_size)


def checks_on(
    model: nn.Module, digits: tuple, folder: Path, attacks: list[AttackSpec]
) -> tuple[dict[str, list[str]], Callable[[float], float]]:
    """The failed checks of the l_inf suite, and the worst case by radius."""
    victim = victim_of(model, digits)
    verdicts = evaluate(victim, attacks, PartialStore(folder, "m"))
    failed = failed_checks(victim, SUITE, "mnist5k", attacks, verdicts)
    return failed, lambda eps: float(survivors(attacks, verdicts, ("linf", eps)).mean())


def of_linf(*left_out: str) -> list[AttackSpec]:
    """The shipped attacks in l_inf, without some kinds."""
    attacks = attacks_on(SUITE, "mnist5k", "slf")
    return [each for each in attacks if each.norm == "linf" and each.kind not in left_out]


def test_apgd_and_its_check_take_more_steps_beyond_the_main_radius_of_linf() -> None:
    found = {each.ball: each.steps for each in attacks_on(SUITE, "mnist5k", "slf") if each.kind == "apgd"}
    short = SUITE.steps.apgd
    assert found == {
        ("linf", 0.05): short, ("linf", 0.1): short, ("linf", 0.2): 4 * short, ("linf", 0.3): 4 * short,
        ("l2", 1.0): short, ("l2", 2.0): short, ("l1", 5.0): short,
    }  # fmt: skip
    longer = {each.ball: each.steps for each in attacks_on(SUITE, "mnist5k", "slf") if each.kind == "longer-apgd"}
    assert longer == {ball: 2 * steps for ball, steps in found.items()}


def test_steps_of_a_tenth_are_marked_where_they_end_on_the_way_and_the_worst_case_is_not(
    robust: nn.Module, digits: tuple, tmp_path: Path
) -> None:
    """As it was: TRADES at twice its radius, PGD with 20 steps of a tenth of it."""
    few = [
        replace(each, step_size=each.eps / 10) if each.kind == "pgd" and each.eps is not None else each
        for each in of_linf("autoattack", "square")
    ]
    failed, worst = checks_on(robust, digits, tmp_path, few)
    (line,) = failed["pgd-20-linf@0.2"]
    assert "pgd-20-linf@0.2 has not converged" in line and "APGD" in line
    assert not failed[""] and not any(lines for name, lines in failed.items() if not name.startswith("pgd-20"))
    assert not failed["pgd-20-linf@0.05"], "converged at the smaller radii, where all settings agree"
    assert worst(0.2) < worst(0.1) - 0.2 < worst(0.05)


def test_an_honest_model_passes_every_check_of_the_head(robust: nn.Module, digits: tuple, tmp_path: Path) -> None:
    failed, _ = checks_on(robust, digits, tmp_path, of_linf("autoattack"))
    assert not any(lines for name, lines in failed.items() if not name.startswith("pgd-20"))


class Saturated(nn.Module):
    """Logits so far apart that their softmax is one number in float32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return 1e4 * self.model(x)


class Rounded(Saturated):
    """Pixels of five grey values."""

    def forward(self, x: Tensor) -> Tensor:
        return self.model(torch.round(4 * x) / 4 + 0 * x)


class Contrary(Saturated):
    """The gradient points the other way."""

    def forward(self, x: Tensor) -> Tensor:
        return self.model(_Negated.apply(x))


class _Negated(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return -gradient


@pytest.mark.parametrize(
    ("mask", "signs"),
    [
        (Saturated, {"are zero"}),
        (Rounded, {"are zero", "survive eps 0.6"}),
        (Contrary, {"survive eps 0.6"}),
    ],
)
def test_masked_gradients_mark_every_row(
    robust: nn.Module, digits: tuple, tmp_path: Path, mask: type[nn.Module], signs: set[str]
) -> None:
    failed, _ = checks_on(mask(robust).eval(), digits, tmp_path, of_linf("autoattack", "longer-apgd", "square"))
    for sign in signs:
        assert any(sign in line for line in failed[""]), (sign, failed[""])


@pytest.mark.parametrize("mask", [Saturated, Rounded, Contrary])
def test_masked_gradients_mark_the_worst_case_of_a_variant(
    robust: nn.Module, digits: tuple, tmp_path: Path, mask: type[nn.Module]
) -> None:
    """It is attacked by less: neither the large radius nor noise, Foolbox or Square on its own."""
    attacks = attacks_on(SUITE, "mnist5k", "slf", variant=True)
    failed, _ = checks_on(mask(robust).eval(), digits, tmp_path, attacks)
    assert failed[""] or failed["worst-case-linf@0.1"]


def test_what_cannot_be_attacked_is_refused_before_any_attack(digits: tuple, tmp_path: Path) -> None:
    store = PartialStore(tmp_path, "m")
    one = nn.Sequential(nn.Flatten(), nn.Linear(64, 1)).eval().requires_grad_(False)
    with pytest.raises(UserError, match=r"^the classifier has one class: no attack can make it answer otherwise$"):
        evaluate(victim_of(one, digits), of_linf(), store)
    two = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).eval().requires_grad_(False)
    bright = replace(victim_of(two, digits), inputs=lambda rows, device: 1.5 * inputs(rows, device))
    with pytest.raises(UserError, match=r"lie in \[0, 1\.5\]; attacks expect \[0, 1\]"):
        evaluate(bright, of_linf(), store)
    assert not list(tmp_path.glob("*.npz"))


@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes_get_every_attack_but_the_targeted_apgd(digits: tuple, tmp_path: Path, classes: int) -> None:
    """On digits that look alike; a linear model of ridge regression."""
    alike = np.array([1, 8, 9])[:classes]
    chosen = np.isin(digits[1], alike)
    few = (np.repeat(digits[0][chosen], 5, 0), np.searchsorted(alike, np.repeat(digits[1][chosen], 5, 0)))
    x = inputs(few[0], CPU).flatten(1)
    target = 2.0 * functional.one_hot(torch.tensor(few[1]), classes) - 1
    linear = nn.Linear(64, classes)
    with torch.no_grad():
        linear.weight.copy_(torch.linalg.solve(x.T @ x + torch.eye(64), x.T @ target).T)
        linear.bias.zero_()
    victim = victim_of(nn.Sequential(nn.Flatten(), linear).eval().requires_grad_(False), few)
    attacks = [replace(each, images=min(each.images, 16)) for each in of_linf("longer-apgd", "square")]
    verdicts = evaluate(victim, attacks, PartialStore(tmp_path, "m"))
    assert verdicts["autoattack-linf@0.1"].broken.any() and not verdicts["apgd-linf@0.05"].broken.all()
    for name in ("autoattack-linf@0.1", "apgd-linf@0.05"):
        broken_by = verdicts[name].broken_by
        assert broken_by is not None and not (broken_by == 1).any(), "1 is the targeted APGD"
