"""Our PGD against Foolbox's, and what its docstring promises."""

import copy
import math

import foolbox
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from contrastbench.attacks import pgd as pgd_module
from contrastbench.attacks.geometry import (
    ImagePasses,
    inside_ball,
    norms,
    project,
    random_perturbation,
    steepest_ascent,
)
from contrastbench.attacks.pgd import leaves_now, pgd
from contrastbench.errors import UserError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    data = load_digits()
    images = torch.tensor(data.images / 16, dtype=torch.float32).unsqueeze(1)
    return images, torch.tensor(data.target)


@pytest.fixture(scope="module")
def model(digits: tuple[torch.Tensor, torch.Tensor]) -> nn.Module:
    """A small net trained on 1,200 digits; its robust accuracy at eps 0.1 is between 0 and its clean accuracy."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(192, 10)
        )
    images, labels = digits[0][:1200], digits[1][:1200]
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    for step in range(120):
        index = torch.randint(1200, (128,), generator=generator(step))
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images[index]), labels[index]).backward()
        optimizer.step()
    return net.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def held_out(digits: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    return digits[0][1200:1500], digits[1][1200:1500]


@pytest.mark.parametrize(
    ("norm", "eps", "relative_step"),
    [("linf", 0.15, 0.25), ("linf", 0.2, 0.1), ("l2", 0.9, 0.25), ("l2", 1.1, 0.1)],
)
def test_never_weaker_than_foolbox_at_less_than_45_percent_of_the_passes(
    model: nn.Module, held_out: tuple, norm: str, eps: float, relative_step: float
) -> None:
    """Both get the same random starts from the same seed, so the iterates agree until an image is fooled."""
    images, labels = held_out
    theirs = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}[norm](rel_stepsize=relative_step, steps=20)
    with torch.random.fork_rng(), ImagePasses(model) as their_passes:
        torch.manual_seed(0)
        *_, success = theirs(foolbox.PyTorchModel(model, bounds=(0, 1)), images, labels, epsilons=eps)
    with ImagePasses(model) as our_passes:
        ours = pgd(
            model,
            images,
            labels,
            eps=eps,
            step_size=relative_step * eps,
            steps=20,
            norm=norm,
            generator=generator(),
        )
    their_accuracy, our_accuracy = 1 - float(success.float().mean()), 1 - float(ours.fooled.float().mean())
    assert 0 < their_accuracy < 0.3, "the comparison needs a model that is neither broken nor robust"
    assert our_accuracy <= their_accuracy
    assert our_passes.images <= 0.45 * their_passes.images
    assert bool((ours.fooled | ~success).all())


def image_by_image(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, eps: float, norm: str, steps: int, active_set: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """PGD as its docstring says it, one image after another."""
    starts = images + random_perturbation(images, eps, norm, generator())
    kept, fooled = [], []
    for clean, label, start in zip(images.split(1), labels.split(1), starts.clamp(0, 1).split(1), strict=True):
        x, found = start, [(bool(model(clean).argmax(1) != label), -math.inf, clean)]
        if not found[0][0] or not active_set:
            for _ in range(steps + 1):
                x = x.detach().requires_grad_()
                logits = model(x)
                loss = nn.functional.cross_entropy(logits, label)
                found.append((bool(logits.argmax(1) != label), float(loss.detach()), x.detach()))
                if active_set and found[-1][0]:
                    break
                step = steepest_ascent(torch.autograd.grad(loss, x)[0], norm)
                x = (clean + project(x.detach() + eps * step - clean, eps, norm)).clamp(0, 1)
        best = max(found, key=lambda each: each[:2])
        kept.append(best[2])
        fooled.append(best[0])
    return torch.cat(kept), torch.tensor(fooled)


class Waits(TorchDispatchMode):
    """Counts the operations whose result's shape or value a device would have to report back."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = function.name()
        by_flags = name in ("aten::index.Tensor", "aten::index_put_", "aten::index_put") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        self.count += by_flags or name in ("aten::nonzero", "aten::_local_scalar_dense", "aten::masked_select")
        return function(*args, **(kwargs or {}))


def test_an_accelerator_says_less_often_who_is_left() -> None:
    when = {device: [n for n in range(20) if leaves_now(n, torch.device(device))] for device in ("cpu", "cuda")}
    assert when == {"cpu": list(range(20)), "cuda": [0, 1, 3, 7, 15]}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("active_set", [True, False])
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.15), ("l2", 0.9)])
def test_each_image_ends_as_if_attacked_alone(
    model: nn.Module,
    held_out: tuple,
    norm: str,
    eps: float,
    active_set: bool,
    device: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In double precision, where both ways agree, and with steps so long that a fooled image may recover."""
    images, labels = held_out[0][:60].double(), held_out[1][:60]
    double = copy.deepcopy(model).double()
    monkeypatch.setattr(pgd_module, "leaves_now", lambda number, _: leaves_now(number, torch.device(device)))
    with Waits() as waits:
        ours = pgd(
            double,
            images,
            labels,
            eps=eps,
            step_size=eps,
            steps=10,
            norm=norm,
            active_set=active_set,
            generator=generator(),
        )
    kept, fooled = image_by_image(double, images, labels, eps, norm, 10, active_set)
    assert 10 < int(fooled.sum()) < 55
    assert torch.equal(ours.fooled, fooled)
    torch.testing.assert_close(ours.images, kept, atol=1e-9, rtol=0)
    assert waits.count <= (18 if device == "cpu" else 12)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.15), ("l2", 0.9)])
@pytest.mark.parametrize("active_set", [True, False])
def test_every_image_is_judged_as_it_is_returned(
    model: nn.Module, held_out: tuple, norm: str, eps: float, active_set: bool
) -> None:
    images, labels = held_out
    result = pgd(
        model,
        images,
        labels,
        eps=eps,
        steps=5,
        step_size=eps / 10,
        norm=norm,
        active_set=active_set,
        generator=generator(),
    )
    assert torch.equal(result.fooled, model(result.images).argmax(1) != labels)
    assert bool(inside_ball(result.images - images, eps, norm).all())
    assert float(result.images.min()) >= 0 and float(result.images.max()) <= 1


def test_known_mistakes_cost_no_pass_and_change_no_outcome(model: nn.Module, held_out: tuple) -> None:
    images, labels = held_out
    wrong = model(images).argmax(1) != labels
    passes, fooled = [], []
    for known in (None, wrong):
        with ImagePasses(model) as counted:
            result = pgd(
                model,
                images,
                labels,
                eps=0.1,
                steps=4,
                step_size=0.01,
                misclassified=known,
                batch_size=77,
                generator=generator(),
            )
        passes.append(counted.images)
        fooled.append(result.fooled)
        assert torch.equal(result.fooled, model(result.images).argmax(1) != labels)
        assert torch.equal(result.images[wrong], images[wrong])
    assert wrong.any() and torch.equal(*fooled)
    assert passes[0] - passes[1] == len(images)


def test_without_the_active_set_the_loss_keeps_rising(model: nn.Module, held_out: tuple) -> None:
    images, labels = held_out
    losses = []
    for active_set in (True, False):
        kept = pgd(
            model, images, labels, eps=0.15, steps=20, step_size=0.015, active_set=active_set, generator=generator()
        ).images
        losses.append(float(nn.functional.cross_entropy(model(kept), labels)))
    assert losses[1] > 1.5 * losses[0]


def test_more_steps_only_break_more(model: nn.Module, held_out: tuple) -> None:
    images, labels = held_out
    few = pgd(model, images, labels, eps=0.1, steps=5, step_size=0.01, generator=generator()).fooled
    more = pgd(model, images, labels, eps=0.1, steps=20, step_size=0.01, generator=generator()).fooled
    assert bool((more | ~few).all()) and int(more.sum()) > int(few.sum())


def test_same_generator_same_images_and_the_global_stream_is_untouched(model: nn.Module, held_out: tuple) -> None:
    images, labels = held_out
    before = torch.random.get_rng_state()
    first, again = (
        pgd(model, images, labels, eps=0.1, steps=3, step_size=0.01, generator=generator(7)).images for _ in range(2)
    )
    other = pgd(model, images, labels, eps=0.1, steps=3, step_size=0.01, generator=generator(8)).images
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(before, torch.random.get_rng_state())


def test_eps_zero_changes_nothing_and_steps_zero_is_the_random_start(model: nn.Module, held_out: tuple) -> None:
    images, labels = held_out
    still = pgd(model, images, labels, eps=0.0, steps=3, step_size=0, generator=generator())
    assert torch.allclose(still.images, images, atol=1e-7)
    assert torch.equal(still.fooled, model(images).argmax(1) != labels)
    noise = pgd(model, images, labels, eps=0.1, steps=0, step_size=0.01, active_set=False, generator=generator())
    assert float((noise.images - images).abs().max()) > 0.09


def test_gradients_that_are_not_finite_do_not_fool(held_out: tuple) -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            sums = x.flatten(1).sum(1, keepdim=True)
            return torch.cat([sums, sums * float("nan")], 1)

    images, _ = held_out
    result = pgd(
        Broken(),
        images,
        torch.zeros(len(images), dtype=torch.long),
        eps=0.1,
        steps=2,
        step_size=0.01,
        generator=generator(),
    )
    assert not bool(result.fooled.any()) and bool(torch.isfinite(result.images).all())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eps": -0.1}, "eps = -0.1: must be 0 or more"),
        ({"images": torch.full((2, 1, 8, 8), 1.5)}, "normalisation belongs inside the model"),
        ({"images": torch.full((2, 1, 8, 8), float("nan"))}, "not finite"),
        ({"model": lambda x: x.detach().flatten(1)[:, :10]}, "needs gradients"),
    ],
)
def test_bad_input_is_refused_in_one_line(model: nn.Module, change: dict, message: str) -> None:
    labels = torch.zeros(2, dtype=torch.long)
    arguments = {"model": model, "images": torch.zeros(2, 1, 8, 8), "labels": labels, "eps": 0.1, "steps": 1}
    arguments |= {"step_size": 0.01} | change
    with pytest.raises(UserError, match=message) as caught:
        pgd(**arguments, generator=generator())
    assert "\n" not in str(caught.value)


def test_balls() -> None:
    delta = torch.randn(50, 3, 4, 4, generator=generator())
    for norm in ("linf", "l2"):
        assert bool(inside_ball(project(delta, 0.5, norm), 0.5, norm).all())
        inside = project(delta, 1e9, norm)
        assert torch.allclose(inside, delta)
        radii = norms(random_perturbation(delta, 0.5, norm, generator()), norm)
        assert float(radii.max()) <= 0.5 and float(radii.max()) > 0.45
    assert math.isclose(float(norms(torch.full((1, 4), 0.5), "l1")), 2.0)
    cube = random_perturbation(torch.zeros(20_000, 2), 1.0, "linf", generator())
    assert abs(float(cube.mean())) < 0.02 and abs(float(cube.std()) - 3**-0.5) < 0.01
    # Uniform in the disc: half of the points are within radius sqrt(1/2).
    disc = random_perturbation(torch.zeros(20_000, 2), 1.0, "l2", generator())
    assert abs(float((norms(disc, "l2") < 0.5**0.5).float().mean()) - 0.5) < 0.02
