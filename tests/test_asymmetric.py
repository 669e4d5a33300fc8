"""A-InfoNCE: the loss against its definition, written as a loop in float64, and what its settings do."""

import copy
import math

import pytest
import torch
from conftest import REPOSITORY
from torch.nn import functional
from training_cases import make_method, step_of, views_of

from contrastbench.errors import UserError
from contrastbench.objectives.asymmetric import asymmetric_nt_xent
from contrastbench.objectives.instance_wise import multi_view_nt_xent
from contrastbench.params.root import load

PUBLISHED = {"temperature": 0.5, "clean_share": 0.2, "tau_plus": 0.12, "beta": 1.0}
CASES = [
    PUBLISHED,
    PUBLISHED | {"clean_share": 0.7, "beta": 0.0},
    PUBLISHED | {"tau_plus": 0.9, "temperature": 0.2},  # where the lower bound of the negatives holds
    PUBLISHED | {"temperature": 0.03, "beta": 2.0, "tau_plus": 0.0},  # e^{3/0.03} would overflow in float32
]


def embeddings(batch: int = 5, size: int = 4) -> list[torch.Tensor]:
    """Three views, of which the adversarial one is far from the others, as leaves with gradients."""
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(batch, size, generator=generator)
    near = (image + scale * torch.randn(batch, size, generator=generator) for scale in (0.3, 0.3, 1.0))
    return [view.requires_grad_() for view in near]


def by_hand(views: list[torch.Tensor], temperature, clean_share, tau_plus, beta) -> torch.Tensor:
    """The definition, one pair after another, in float64."""
    z = functional.normalize(torch.cat(views).double(), dim=1)
    batch, count = len(views[0]), len(z)
    image, clean = [i % batch for i in range(count)], [i < 2 * batch for i in range(count)]

    def s(i, j):
        return z[i] @ z[j].detach() / temperature

    def importance(i, j):
        return torch.exp(beta * s(i, j)) if image[i] != image[j] else torch.tensor(0.0 if beta else 1.0).double()

    mean_importance = [sum(importance(i, j) for j in range(count)) / count for i in range(count)]
    total = torch.zeros(()).double()
    for i in range(count):
        positives = [j for j in range(count) if image[j] == image[i] and j != i]
        negatives = [j for j in range(count) if image[j] != image[i]]
        p = sum(torch.exp(s(i, j)) for j in positives) / 2
        hard = sum(importance(i, j) / mean_importance[j] * torch.exp(s(i, j)) for j in negatives)
        g = (hard - tau_plus * len(negatives) * p) / (1 - tau_plus)
        g = torch.clamp(g, min=len(negatives) * math.exp(-1 / temperature))
        for j in positives:
            weight = 1.0 if clean[i] and clean[j] else clean_share if clean[i] else 1 - clean_share
            total = total - weight * torch.log(torch.exp(s(i, j)) / (p + g))
    return total / count


@pytest.mark.parametrize("settings", CASES)
def test_loss_and_gradients_equal_a_float64_loop(settings):
    views, twins = embeddings(), embeddings()
    ours, theirs = asymmetric_nt_xent(*views, **settings), by_hand(twins, **settings)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5 if settings["temperature"] > 0.1 else 1e-4)
    for a, b in zip(torch.autograd.grad(ours, views), torch.autograd.grad(theirs, twins), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)


def test_without_a_share_the_clean_views_are_not_pulled_towards_the_adversarial_one():
    """With ``clean_share`` 0 the clean views' gradients are those of an adversarial view that is a mere negative."""
    first, second, adversarial = embeddings()
    moved = adversarial.detach() + 0.01 * first.detach()  # closer to its own clean view

    def pull(share):
        """How the term of the clean anchors alone changes with the adversarial view."""
        settings = PUBLISHED | {"clean_share": share, "tau_plus": 0.0, "beta": 0.0}
        losses = [asymmetric_nt_xent(first, second, x, **settings) for x in (adversarial, moved)]
        gradients = [torch.autograd.grad(loss, first)[0] for loss in losses]
        return (gradients[1] - gradients[0]).norm().item()

    assert pull(0.0) < pull(0.2) < pull(1.0)


def test_a_batch_without_negatives_is_refused():
    with pytest.raises(UserError, match=r"^a contrastive loss needs a batch of at least 2, not 1"):
        asymmetric_nt_xent(*embeddings(batch=1), **PUBLISHED)


def test_a_step_is_rocls_with_the_asymmetric_contrast():
    """Same attack, same regulariser, from a twin network of the class RoCL."""
    method, rocl = make_method("a-infonce"), make_method("rocl")
    rocl.load_state_dict(method.state_dict())
    twin, batch = copy.deepcopy(rocl), views_of(method, 16)
    contrasted = []
    rocl.contrast = lambda *views: contrasted.append(views) or multi_view_nt_xent(views, temperature=0.5)
    plain = rocl.training_step(batch, step_of(0))["loss"] - multi_view_nt_xent(contrasted[0], temperature=0.5)
    expected = plain + by_hand(list(contrasted[0]), **PUBLISHED)
    assert method.training_step(batch, step_of(0))["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert twin.training_step(batch, step_of(0))["loss"].item() != pytest.approx(expected.item(), rel=1e-2)


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_settings_are_those_of_the_published_script(preset):
    settings = load(preset, REPOSITORY).swaro.settings.a_infonce
    assert settings.model_dump(include=set(PUBLISHED)) == PUBLISHED
    assert settings.regularization == 1 / 256
