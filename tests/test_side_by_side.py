"""What runs side by side ends as pyautoattack's sequence does, on every image, in far fewer calls of the model."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from pyautoattack.fab_projections import projection_linf
from sklearn.datasets import load_digits
from torch import Tensor, nn

from contrastbench.attacks.autoattack import Settings, build
from contrastbench.attacks.side_by_side import square, targeted_apgd, targeted_fab, to_hyperplane


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    data = load_digits()
    colour = torch.tensor(data.images / 16, dtype=torch.float32).unsqueeze(1) * torch.tensor([1.0, 0.8, 0.6]).view(
        3, 1, 1
    )
    return colour, torch.tensor(data.target)


@pytest.fixture(scope="module")
def images(digits: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return digits[0][1600:1660], digits[1][1600:1660]


class Blinkered(nn.Module):
    """A small network that does not see the last two columns: squares there change no margin."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(96, 32),
            nn.ReLU(),
            nn.Linear(32, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x[..., :6])


@pytest.fixture(scope="module")
def model(digits: tuple[Tensor, Tensor]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Blinkered()
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for step in range(60):
        part = slice(step * 25 % 1000, step * 25 % 1000 + 200)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(digits[0][part]), digits[1][part]).backward()
        optimizer.step()
    return net.eval().requires_grad_(False)


class Calls:
    def __init__(self, model: nn.Module) -> None:
        self.model, self.count, self.largest = model, 0, 0

    def __enter__(self) -> "Calls":
        self.handle = self.model.register_forward_pre_hook(self.add)
        return self

    def add(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.count, self.largest = self.count + 1, max(self.largest, len(inputs[0]))

    def __exit__(self, *_: object) -> None:
        self.handle.remove()


@pytest.fixture(autouse=True)
def own_stream() -> Iterator[None]:
    with torch.random.fork_rng():
        yield


def attack_of(model: nn.Module, part: str, eps: float) -> Any:
    """One of pyautoattack's attacks; targeted APGD then breaks images at the classes 1, 2, 4 and 5."""
    iterations = 5 if part == "apgd_targeted" else 10
    attack = getattr(build(model, Settings(eps, iterations=iterations, queries=300), 3, 10, torch.device("cpu")), part)
    attack.targeted = part == "fab"
    return attack


@pytest.mark.parametrize("batch_size", [60, 150, 600])
@pytest.mark.parametrize(
    ("part", "ours", "eps", "calls"),
    [("apgd_targeted", targeted_apgd, 0.11, 0.9), ("fab", targeted_fab, 0.06, 0.2), ("square", square, 0.12, 0.35)],
)
def test_every_image_ends_as_with_pyautoattack(
    model: nn.Module,
    images: tuple[Tensor, Tensor],
    part: str,
    ours: Callable,
    eps: float,
    calls: float,
    batch_size: int,
) -> None:
    (x, y), attack = images, attack_of(model, part, eps)
    with torch.no_grad(), Calls(model) as theirs:
        expected = attack.perturb(x, y)
    with torch.no_grad(), Calls(model) as own:
        found = ours(attack, x, y, batch_size=batch_size)
    broken = [model(images).argmax(1) != y for images in (found, expected)]
    assert torch.equal(*broken)
    assert 5 < int((broken[0] & (model(x).argmax(1) == y)).sum()) < int((model(x).argmax(1) == y).sum())
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert own.largest <= batch_size
    if batch_size == 600:
        assert own.count <= calls * theirs.count, (own.count, theirs.count)


@pytest.mark.parametrize("batch_size", [60, 600])
def test_targeted_apgd_in_l2_ends_as_pyautoattacks(
    model: nn.Module, images: tuple[Tensor, Tensor], batch_size: int
) -> None:
    x, y = images
    settings = Settings(0.45, "l2", iterations=5)
    attack = build(model, settings, 3, 10, torch.device("cpu")).apgd_targeted
    with torch.no_grad(), Calls(model) as theirs:
        expected = attack.perturb(x, y)
    with torch.no_grad(), Calls(model) as own:
        found = targeted_apgd(attack, x, y, batch_size=batch_size)
    broken = [model(images).argmax(1) != y for images in (found, expected)]
    assert torch.equal(*broken)
    assert 5 < int((broken[0] & (model(x).argmax(1) == y)).sum()) < int((model(x).argmax(1) == y).sum())
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    if batch_size == 600:
        assert own.count < theirs.count


def test_fab_finds_the_nearest_images_that_pyautoattack_finds(model: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    """In a ball of the whole cube every image is broken, by the first class; so the searches are seen in full."""
    (x, y), attack = images, attack_of(model, "fab", 1.0)
    attack.n_target_classes = 1
    with torch.no_grad():
        expected, found = attack.perturb(x, y), targeted_fab(attack, x, y, batch_size=60)
    assert bool((model(expected).argmax(1) != y).all())
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("part", "ours"), [("apgd_targeted", targeted_apgd), ("fab", targeted_fab)])
def test_of_many_classes_the_nine_likeliest_are_tried(part: str, ours: Callable) -> None:
    """However many fit into a batch. The tenth is near the image, and nothing that the nine before it see changes."""

    class TenthIsNear(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            others = torch.tensor([9.0, *[8.9] * 9, 8.0, *[0.0] * 4])
            return others + 100 * nn.functional.one_hot(torch.tensor(10), 15) * x.mean((1, 2, 3)).unsqueeze(1)

    x, y, model = torch.full((2, 3, 8, 8), 0.005), torch.zeros(2, dtype=torch.long), TenthIsNear()
    attack = getattr(build(model, Settings(0.02, iterations=5), 3, 15, torch.device("cpu")), part)
    attack.targeted = part == "fab"
    with torch.no_grad():
        for attacked in (attack.perturb(x, y), ours(attack, x, y, batch_size=100)):
            assert torch.equal(attacked, x)
    attack.n_target_classes = 10
    with torch.no_grad():
        assert bool((model(ours(attack, x, y, batch_size=100)).argmax(1) == 10).all())


def test_the_step_to_a_hyperplane_is_pyautoattacks() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(200, 3, 4, 4, generator=generator, dtype=torch.float64).mul(1.4).sub(0.2).clamp(0, 1)
    gradient = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    gradient[::2, 1] = 0
    value = 4 * torch.randn(200, generator=generator, dtype=torch.float64)
    value[:5] *= 100  # farther than the box reaches
    step = to_hyperplane(x, gradient, value)
    offset = (gradient * x).flatten(1).sum(1) - value
    expected = projection_linf(x.flatten(1).clone(), gradient.flatten(1).clone(), offset).view_as(x)
    torch.testing.assert_close(step, expected, atol=1e-9, rtol=0)
    left = value + (gradient * step).flatten(1).sum(1)
    assert int((left.abs() < 1e-9).sum()) > 150 and bool((left[:5].abs() > 1).all())
    assert float((x + step).min()) >= 0 and float((x + step).max()) <= 1
    assert torch.equal(to_hyperplane(x, torch.zeros_like(x), value), torch.zeros_like(x))
    to_hyperplane(x, gradient, value * torch.nan)  # ends


def test_square_in_float64_is_pyautoattacks(model: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    x, exact = images[0].double(), copy.deepcopy(model).double()
    attack = attack_of(exact, "square", 0.12)
    expected, found = attack.perturb(x, images[1]), square(attack, x, images[1], batch_size=60)
    assert torch.equal(exact(found).argmax(1), exact(expected).argmax(1))


def test_square_stops_at_its_queries_and_where_all_are_fooled(model: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits[0][1200:1206], digits[1][1200:1206]
    for eps, images in ((0.001, x), (0.9, x)):
        attack = build(model, Settings(eps, queries=30), 0, 10, torch.device("cpu")).square
        with Calls(model) as calls:
            found = square(attack, images, y, batch_size=64)
        fooled = model(found).argmax(1) != y
        right = model(x).argmax(1) == y
        assert bool((fooled == (~right if eps < 0.01 else torch.ones_like(right))).all())
        assert calls.count <= 32
        assert torch.equal(found[~fooled], images[~fooled])
