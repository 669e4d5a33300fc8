"""Our loop over AutoAttack gives pyautoattack's own verdicts, survives a kill and takes channels-last models."""

import copy
import logging
from dataclasses import replace

import pyautoattack
import pytest
import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from sklearn.datasets import load_digits
from torch import nn

from contrastbench.attacks.autoattack import CLEAN, ROBUST, STANDARD, Settings, State, autoattack, build
from contrastbench.attacks.geometry import inside_ball
from contrastbench.errors import UserError

CPU = torch.device("cpu")
EPS = 0.12
FEW = Settings(eps=EPS, batch_size=16, iterations=5, queries=60)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.tensor(load_digits().images[1200:1240] / 16, dtype=torch.float32).unsqueeze(1)


@pytest.fixture(scope="module")
def labels() -> torch.Tensor:
    return torch.tensor(load_digits().target[1200:1240])


@pytest.fixture(scope="module")
def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10))
    data = load_digits()
    x = torch.tensor(data.images[:1000] / 16, dtype=torch.float32).unsqueeze(1)
    y = torch.tensor(data.target[:1000])
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for step in range(40):
        part = slice(step * 25 % 1000, step * 25 % 1000 + 200)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x[part]), y[part]).backward()
        optimizer.step()
    return net.eval().requires_grad_(False)


def front(model: nn.Module) -> pyautoattack.AutoAttack:
    """pyautoattack itself, at the settings of FEW."""
    logging.getLogger("auto-attack").setLevel(logging.ERROR)
    theirs = pyautoattack.AutoAttack(
        model, norm="Linf", eps=EPS, seed=3, version="custom", attacks=list(STANDARD), device="cpu"
    )
    theirs.apgd.n_restarts = theirs.fab.n_restarts = theirs.apgd_targeted.n_restarts = 1
    theirs.fab.n_iter = 5
    for apgd in (theirs.apgd, theirs.apgd_targeted):  # as its constructor would with n_iter = 5
        apgd.n_iter, apgd.n_iter_2, apgd.n_iter_min, apgd.size_decr = 5, 1, 1, 1
    theirs.square.n_queries = 60
    return theirs


def test_every_verdict_is_pyautoattacks_own(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    with torch.random.fork_rng():
        adversarial, _ = front(model).run_standard_evaluation(images, labels, batch_size=16)
    theirs = model(adversarial).argmax(1) == labels
    state = autoattack(model, images, labels, FEW, seed=3, device=CPU)
    ours = state.broken_by == ROBUST
    assert torch.equal(ours, theirs)
    assert 0 < int(ours.sum()) < len(ours), "the comparison needs both verdicts"
    assert torch.equal(state.broken_by == CLEAN, model(images).argmax(1) != labels)
    assert not bool(state.refused.any())


def test_the_standard_is_pyautoattacks_standard(model: nn.Module) -> None:
    standard = pyautoattack.AutoAttack(model, eps=0.1, seed=7, version="standard")
    ours = build(model, Settings(eps=0.1), 7, 10, CPU)
    assert list(STANDARD) == standard.attacks_to_run == ours.attacks_to_run
    for part in ("apgd", "apgd_targeted", "fab", "square"):
        for name in ("n_restarts", "n_iter", "n_target_classes", "n_queries", "eps", "rho", "p_init", "seed"):
            assert getattr(getattr(ours, part), name, None) == getattr(getattr(standard, part), name, None)


def test_a_killed_evaluation_ends_with_the_same_verdicts(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor
) -> None:
    saved: list[State] = []
    whole = autoattack(
        model, images, labels, FEW, seed=3, device=CPU, save=lambda state: saved.append(copy.deepcopy(state))
    )
    assert len(saved) >= 6
    for position in (0, 1, len(saved) // 2, len(saved) - 1):
        resumed = autoattack(model, images, labels, FEW, seed=3, device=CPU, state=saved[position])
        assert torch.equal(resumed.broken_by, whole.broken_by)


ROUNDS = Settings(eps=EPS, attacks=("apgd-ce", "apgd-t"), batch_size=16, iterations=2, again=0.0)


def test_rounds_go_on_as_long_as_they_break_enough(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor
) -> None:
    """Each is a whole run of its own seed on what those before it left."""
    left, seed, counts = torch.ones(len(images), dtype=torch.bool), 3, []
    while not counts or counts[-1] > 0:
        one = autoattack(
            model,
            images,
            labels,
            replace(ROUNDS, again=None),
            seed=seed,
            device=CPU,
            wanted=dict.fromkeys(ROUNDS.attacks, left),
        )
        broken = left & (one.broken_by >= 0)
        counts.append(int(broken.sum()))
        left, seed = left & (one.broken_by == ROBUST), seed + 1
    assert len(counts) > 2, "the comparison needs rounds that break more"
    state = autoattack(model, images, labels, ROUNDS, seed=3, device=CPU)
    assert state.round == len(counts) - 1 and torch.equal(state.broken_by == ROBUST, left)
    once = autoattack(model, images, labels, replace(ROUNDS, again=1.0), seed=3, device=CPU)
    assert once.round == 0 and int((once.broken_by >= 0).sum()) == counts[0]


def test_a_killed_round_continues(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    saved: list[State] = []
    whole = autoattack(
        model, images, labels, ROUNDS, seed=3, device=CPU, save=lambda state: saved.append(copy.deepcopy(state))
    )
    later = [state for state in saved if state.round]
    for state in (later[0], later[-1]):
        again = autoattack(model, images, labels, ROUNDS, seed=3, device=CPU, state=state)
        assert torch.equal(again.broken_by, whole.broken_by) and again.round == whole.round


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("iterations", [5, 25, 200])
def test_other_iterations_have_the_schedule_that_their_constructor_gives(
    model: nn.Module, norm: str, iterations: int
) -> None:
    ours = build(model, Settings(eps=1.0, norm=norm, iterations=iterations), 0, 10, CPU)
    for part, kind in (("apgd", APGDAttack), ("apgd_targeted", APGDAttack_targeted)):
        theirs = kind(model, n_iter=iterations, norm=ours.norm, eps=1.0)
        for name in ("n_iter", "n_iter_orig", "n_iter_2", "n_iter_min", "size_decr"):
            assert getattr(getattr(ours, part), name) == getattr(theirs, name), (part, name)


def test_the_global_generator_is_given_back(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    autoattack(model, images[:8], labels[:8], FEW, seed=3, device=CPU)
    assert torch.equal(before, torch.random.get_rng_state())


def test_channels_last_models_do_not_crash(images: torch.Tensor) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
        )
    net = net.eval().requires_grad_(False)

    class ChannelsLast(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return net(x.to(memory_format=torch.channels_last))

    colour = images[:12].repeat(1, 3, 1, 1).to(memory_format=torch.channels_last)
    labels = net(colour).argmax(1)
    with pytest.raises(RuntimeError, match="view"), torch.random.fork_rng():
        front(ChannelsLast()).run_standard_evaluation(colour, labels)
    state = autoattack(ChannelsLast(), colour, labels, FEW, seed=0, device=CPU)
    assert len(state.broken_by) == 12


def test_square_alone_needs_no_gradients(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    class BlackBox(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                return model(x)

    settings = Settings(eps=EPS, attacks=("square",), queries=100)
    black, white = (autoattack(m, images, labels, settings, seed=0, device=CPU) for m in (BlackBox(), model))
    assert torch.equal(black.broken_by, white.broken_by)
    assert int((black.broken_by == 0).sum()) > 0
    with pytest.raises(UserError, match="needs gradients"):
        autoattack(BlackBox(), images, labels, FEW, seed=0, device=CPU)


def test_fewer_classes_than_the_standard_targets(images: torch.Tensor, labels: torch.Tensor) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 5)).eval().requires_grad_(False)
    answers = net(images[:8]).argmax(1)
    state = autoattack(net, images[:8], answers, FEW, seed=0, device=CPU)
    assert int((state.broken_by >= 0).sum()) > 0


@pytest.mark.parametrize("classes", [2, 3])
def test_targeted_apgd_is_left_out_where_its_loss_has_too_few_classes(images: torch.Tensor, classes: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, classes)).eval().requires_grad_(False)
    state = autoattack(net, images[:8], net(images[:8]).argmax(1), FEW, seed=0, device=CPU)
    assert int((state.broken_by >= 0).sum()) > 0 and not bool((state.broken_by == STANDARD.index("apgd-t")).any())


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_other_norms_stay_inside_their_ball(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, norm: str
) -> None:
    eps = {"l2": 0.8, "l1": 4.0}[norm]
    settings = Settings(eps=eps, norm=norm, attacks=("apgd-ce",), iterations=20)
    state = autoattack(model, images, labels, settings, seed=0, device=CPU)
    assert not bool(state.refused.any()) and int((state.broken_by == 0).sum()) > 0
    assert not bool(inside_ball(torch.full((1, 1, 8, 8), eps), eps, norm).any())


def test_images_outside_the_unit_interval_are_refused(model: nn.Module, labels: torch.Tensor) -> None:
    with pytest.raises(UserError, match=r"expect \[0, 1\]"):
        autoattack(model, torch.full((2, 1, 8, 8), -0.5), labels[:2], FEW, seed=0, device=CPU)
