"""Every sanity check passes an honest evaluation and fails a dishonest one."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from contrastbench.attacks.autoattack import ROBUST, Settings, autoattack
from contrastbench.attacks.foolbox_attacks import run_foolbox
from contrastbench.attacks.geometry import random_perturbation
from contrastbench.attacks.pgd import pgd
from contrastbench.attacks.recount import recount
from contrastbench.evaluation import sanity
from contrastbench.params.robustness import ENOUGH_FOR_A_CHECK

EPS = 0.2


def share(correct: int, total: int = 100) -> np.ndarray:
    return np.arange(total) < correct


def test_clearly_more_is_the_exact_one_sided_mcnemar_test() -> None:
    ten_more, five_more = (share(50), share(40)), (share(45), share(40))
    assert sanity.clearly_more(*ten_more)  # 10 discordant, all one way: p = 2^-10
    assert not sanity.clearly_more(*five_more)  # 2^-5 = 0.031
    assert not sanity.clearly_more(share(40), share(50))
    assert not sanity.clearly_more(share(40), share(40))
    noisy = np.random.default_rng(0).random((2, 400)) < 0.5
    assert not sanity.clearly_more(noisy[0], noisy[1])


def test_large_radius() -> None:
    assert sanity.large_radius_breaks_all(share(1), 0.9) is None
    assert "10.0% of the images survive eps 0.9" in (sanity.large_radius_breaks_all(share(10), 0.9) or "")


def test_convergence_against_stronger_attacks() -> None:
    def told(left: np.ndarray, *stronger: np.ndarray) -> str | None:
        return sanity.has_converged("PGD", left, dict(zip(("APGD", "40 steps"), stronger, strict=False)))

    assert told(share(50), share(47), share(50)) is None, "within the tolerance"
    message = "PGD has not converged: 43.0% survive it, 9.0% APGD and 42.0% 40 steps"
    assert told(share(43), share(9), share(42)) == message
    assert told(share(43), share(43), share(60)), "nor may more steps break fewer"
    assert told(share(60, 250), share(10, 16)), "on the images that both saw"
    assert told(share(5, 7), share(4, 7)) is None, "one image fails nothing"


def test_convergence_by_a_sample_of_what_is_left() -> None:
    left = share(100, 250)
    assert sanity.nothing_is_left_to_find(left, share(1, 16), "more") is None
    assert sanity.nothing_is_left_to_find(left, share(1, 8), "more") is None, "one image fails nothing"
    assert sanity.nothing_is_left_to_find(left, share(2, 32), "more") is None, "2.5 points"
    told = "the attacks have not converged: 40.0% survive, but more breaks 4 of 16 of them, which leaves 30.0%"
    assert sanity.nothing_is_left_to_find(left, share(4, 16), "more") == told
    assert sanity.nothing_is_left_to_find(share(0, 250), share(0, 0), "more") is None, "nothing is left"


def test_white_box_against_black_box_on_their_common_images() -> None:
    assert sanity.white_box_is_strongest(share(30), share(40), "Square") is None
    failing = sanity.white_box_is_strongest(share(60), share(20, 40), "Square") or ""
    assert "Square is stronger than attacks with gradients (50.0% survive, not 100.0%)" in failing


def test_seven_images_are_enough_for_a_check_to_fail() -> None:
    assert sanity.clearly_more(share(7, 7), share(0, 7)) and not sanity.clearly_more(share(6, 6), share(0, 6))
    assert ENOUGH_FOR_A_CHECK == 7


def test_our_pgd_against_foolboxs_on_their_common_images() -> None:
    assert sanity.own_attack_is_as_strong(share(40), share(41)) is None
    assert sanity.own_attack_is_as_strong(share(42), share(41)) is None, "within noise"
    failing = sanity.own_attack_is_as_strong(share(60), share(20, 40)) or ""
    assert "Foolbox's PGD is stronger than ours (50.0% survive, not 100.0%)" in failing


def test_noise() -> None:
    assert sanity.noise_is_weaker(share(90), share(30)) is None
    assert "random noise is stronger" in (sanity.noise_is_weaker(share(30), share(90)) or "")


def test_minimal_distances() -> None:
    white = np.linspace(0.1, 1, 16)
    assert sanity.white_box_is_nearest(white, 1.1 * white[:12]) is None
    assert sanity.white_box_is_nearest(white, 0.995 * white) is None, "within rounding"
    assert sanity.white_box_is_nearest(np.zeros(16), np.zeros(16)) is None, "misclassified without an attack"
    assert "nearer images than gradients do (12 of 12)" in (sanity.white_box_is_nearest(white, 0.5 * white[:12]) or "")
    assert "12 of 12" in (sanity.white_box_is_nearest(np.full(16, np.inf), white[:12]) or "")


def test_validity() -> None:
    assert sanity.perturbations_are_valid(share(100), "fgsm") is None
    assert "fgsm: 3 of 100 images left the ball" in (sanity.perturbations_are_valid(share(97), "fgsm") or "")


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients(layout: torch.memory_format) -> None:
    gradients = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0)).to(memory_format=layout)
    assert sanity.gradients_are_useful(gradients) is None
    zero, broken = gradients.clone(), gradients.clone()
    zero[1] = 0
    broken[2, 0, 0, 0] = float("nan")
    assert "1 of 4 are zero" in (sanity.gradients_are_useful(zero) or "")
    assert "1 are not finite" in (sanity.gradients_are_useful(broken) or "")


@pytest.fixture(scope="module")
def data() -> tuple[torch.Tensor, torch.Tensor]:
    digits = load_digits()
    return torch.tensor(digits.images / 16, dtype=torch.float32).unsqueeze(1), torch.tensor(digits.target)


@pytest.fixture(scope="module")
def honest(data: tuple) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(data[0][:1000]), data[1][:1000]).backward()
        optimizer.step()
    return net.eval().requires_grad_(False)


class Masked(nn.Module):
    """The honest model behind rounded pixels and huge logits: as easy to break, but its gradients are useless."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rounded = torch.round(4 * x) / 4 + 0 * x
        return 1e4 * self.model(rounded)


def test_a_masked_model_is_detected(honest: nn.Module, data: tuple) -> None:
    images, labels = data[0][1200:1280], data[1][1200:1280]

    def robust(model: nn.Module, eps: float, steps: int = 20) -> np.ndarray:
        found = pgd(
            model, images, labels, eps=eps, steps=steps, step_size=eps / 4, generator=torch.Generator().manual_seed(0)
        )
        return ~found.fooled.numpy()

    def findings(model: nn.Module) -> list[str | None]:
        square = autoattack(
            model,
            images,
            labels,
            Settings(eps=EPS, attacks=("square",), queries=300),
            seed=0,
            device=torch.device("cpu"),
        )
        black = (square.broken_by == ROBUST).numpy()
        noisy = images + random_perturbation(images, EPS, "linf", torch.Generator().manual_seed(0))
        counts = (
            recount(model, images, noisy.clamp(0, 1), labels, eps=EPS, norm="linf"),
            run_foolbox("fgsm", model, images, labels, seed=0, steps=0, eps=EPS)[1],
        )
        noise, fgsm = (~counted.broken.numpy() for counted in counts)
        return [
            sanity.large_radius_breaks_all(robust(model, 0.9), 0.9),
            sanity.white_box_is_strongest(robust(model, EPS), black, "Square"),
            sanity.gradients_are_useful(sanity.input_gradients(model, images, labels)),
            sanity.noise_is_weaker(noise, fgsm),
            sanity.has_converged("PGD", robust(model, EPS), {"40 steps": robust(model, EPS, 40)}),
        ]

    assert findings(honest) == [None] * 5
    assert all(findings(Masked(honest).eval())[:3]), "blocked at a large radius, weaker than Square, zero gradients"
