"""NT-Xent, DCL and HCL against slow loops in float64, and their behaviour at the edges."""

import math

import pytest
import torch
from torch.nn import functional

from contrastbench.errors import UserError
from contrastbench.objectives.contrastive import dcl, hcl, nt_xent
from contrastbench.objectives.mochi import Cosines, mochi_loss


def pair(batch: int, dim: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z1 = torch.randn(batch, dim, generator=generator, dtype=torch.float64)
    return z1, z1 + 0.5 * torch.randn(batch, dim, generator=generator, dtype=torch.float64)


def loop_hcl(z1, z2, temperature, tau_plus, beta):
    """Robinson et al. as their text and code define it, one anchor and one negative at a time."""
    z = [list(map(float, row)) for row in functional.normalize(torch.cat([z1, z2]), dim=1)]
    batch, total = len(z1), 0.0
    for i in range(2 * batch):
        positive = math.exp(sum(a * b for a, b in zip(z[i], z[(i + batch) % (2 * batch)], strict=True)) / temperature)
        negatives = [
            math.exp(sum(a * b for a, b in zip(z[i], z[j], strict=True)) / temperature)
            for j in range(2 * batch)
            if j % batch != i % batch
        ]
        importance = [n**beta for n in negatives]
        mean = sum(importance) / len(importance)
        reweighted = sum(w * n for w, n in zip(importance, negatives, strict=True)) / mean
        count = len(negatives)
        ng = (-tau_plus * count * positive + reweighted) / (1 - tau_plus)
        ng = max(ng, count * math.exp(-1 / temperature))
        total += -math.log(positive / (positive + ng))
    return total / (2 * batch)


@pytest.mark.parametrize("batch", [2, 5, 16])
@pytest.mark.parametrize("dim", [2, 8])
@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
def test_losses_equal_a_loop(batch, dim, temperature):
    z1, z2 = pair(batch, dim)
    expected = loop_hcl(z1, z2, temperature, 0.0, 0.0)
    assert nt_xent(z1, z2, temperature=temperature).item() == pytest.approx(expected, rel=2e-5, abs=2e-6)
    expected = loop_hcl(z1, z2, temperature, 0.1, 0.0)
    assert dcl(z1, z2, temperature=temperature, tau_plus=0.1).item() == pytest.approx(expected, rel=2e-5, abs=2e-6)
    expected = loop_hcl(z1, z2, temperature, 0.1, 1.0)
    assert hcl(z1, z2, temperature=temperature, tau_plus=0.1, beta=1.0).item() == pytest.approx(
        expected, rel=2e-5, abs=2e-6
    )


def test_nt_xent_of_identical_embeddings_is_log_of_all_others():
    z = torch.ones(4, 3)
    assert nt_xent(z, z, temperature=0.5).item() == pytest.approx(math.log(7), abs=1e-6)


def test_gradients_equal_those_of_the_plain_formula():
    """Log space changes the numbers' range, not the gradient."""
    z1, z2 = (z.float().requires_grad_() for z in pair(8, 4))

    def plain():
        z = functional.normalize(torch.cat([z1, z2]), dim=1)
        s = torch.exp(z @ z.T / 0.5)
        mask = torch.arange(16) % 8
        negative = mask.unsqueeze(0) != mask.unsqueeze(1)
        positive = torch.exp((z * z.roll(8, 0)).sum(1) / 0.5)
        neg = s[negative].view(16, 14)
        importance = neg**2
        ng = (-0.1 * 14 * positive + (importance * neg).sum(1) / importance.mean(1)) / 0.9
        ng = ng.clamp_min(14 * math.exp(-2))
        return -(positive / (positive + ng)).log().mean()

    ours = torch.autograd.grad(hcl(z1, z2, temperature=0.5, tau_plus=0.1, beta=2.0), (z1, z2))
    theirs = torch.autograd.grad(plain(), (z1, z2))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "loss", [nt_xent, lambda a, b, temperature: hcl(a, b, temperature=temperature, tau_plus=0.1, beta=1.0)]
)
def test_permutation_and_view_swap_change_nothing(loss):
    z1, z2 = pair(12, 6)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    value = loss(z1, z2, temperature=0.3)
    assert loss(z1[order], z2[order], temperature=0.3).item() == pytest.approx(value.item(), rel=1e-5)
    assert loss(z2, z1, temperature=0.3).item() == pytest.approx(value.item(), rel=1e-5)


@pytest.mark.parametrize(("temperature", "beta"), [(0.1, 8.0), (0.07, 6.0), (0.1, 9.0), (0.05, 1.0), (0.05, 0.5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_finite_where_the_published_code_is_not(temperature, beta, dtype):
    z1, z2 = (z.to(dtype) for z in pair(16, 8))
    z1[1], z2[1] = z1[0], z2[0]  # a duplicate image in the batch
    z1.requires_grad_()
    loss = hcl(z1, z2, temperature=temperature, tau_plus=0.1, beta=beta)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(z1.grad).all()


def test_a_batch_of_one_has_no_negatives():
    z = torch.randn(1, 4)
    with pytest.raises(UserError, match="batch of at least 2"):
        nt_xent(z, z, temperature=0.5)


def test_mochi_without_synthetic_negatives_is_nt_xent_and_each_blend_adds_to_the_loss():
    z1, z2 = (z.float() for z in pair(16, 8))
    plain = nt_xent(z1, z2, temperature=0.5)

    def mochi(mixed, with_query):
        generator = torch.Generator().manual_seed(0)
        return mochi_loss(
            z1, z2, temperature=0.5, hardest=8, mixed_negatives=mixed, mixed_with_query=with_query, generator=generator
        ).item()

    assert mochi(0, 0) == pytest.approx(plain.item(), rel=1e-6)
    assert mochi(4, 0) > plain.item()
    assert mochi(4, 4) > mochi(4, 0)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_mochi_and_its_gradients_equal_a_loop_over_its_own_draws(temperature):
    """The loop builds every blend as a vector, in float64; blends are constants."""
    z1, z2 = (z.float().requires_grad_() for z in pair(6, 4))
    loss = mochi_loss(
        z1, z2, temperature=temperature, hardest=3, mixed_negatives=2, mixed_with_query=1,
        generator=torch.Generator().manual_seed(3),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(3)
    a, b = torch.rand(12, 2, 1, generator=generator), 0.5 * torch.rand(12, 1, 1, generator=generator)
    picks = [torch.randint(3, (12, n), generator=generator) for n in (2, 2, 1)]
    z = functional.normalize(torch.cat([z1, z2]).double(), dim=1)
    constant = z.detach()
    total = 0.0
    for i in range(12):
        others = sorted((j for j in range(12) if j % 6 != i % 6), key=lambda j: -float(constant[i] @ constant[j]))[:3]
        logits = [z[i] @ z[j] for j in range(12) if j != i]
        for n in range(2):
            mixed = a[i, n] * constant[others[picks[0][i, n]]] + (1 - a[i, n]) * constant[others[picks[1][i, n]]]
            logits.append(z[i] @ functional.normalize(mixed, dim=0))
        mixed = b[i, 0] * constant[i] + (1 - b[i, 0]) * constant[others[picks[2][i, 0]]]
        logits.append(z[i] @ functional.normalize(mixed, dim=0))
        total += (torch.stack(logits) / temperature).logsumexp(0) - z[i] @ z[(i + 6) % 12] / temperature
    assert loss.item() == pytest.approx(total.item() / 12, rel=1e-6)
    for ours, theirs in zip(*(torch.autograd.grad(each, (z1, z2)) for each in (loss, total / 12)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_mochis_opposite_negatives_blend_to_something_finite():
    """Half of each of two opposite vectors is nothing, which has no direction."""
    z = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], requires_grad=True)
    loss = mochi_loss(
        z, z, temperature=0.1, hardest=4, mixed_negatives=20_000, mixed_with_query=20_000,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert torch.isfinite(loss) and torch.isfinite(torch.autograd.grad(loss, z)[0]).all()


def test_cosines_have_the_gradients_they_promise():
    z = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    mixed = torch.randn(2, 5, 5, dtype=torch.float64)
    both, rows = Cosines.apply(z)
    ours = torch.autograd.grad((mixed[0] * both).sum() + (mixed[1] * rows).sum(), z)
    theirs = torch.autograd.grad((mixed[0] * (z @ z.T)).sum() + (mixed[1] * (z @ z.detach().T)).sum(), z)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    "loss",
    [
        lambda a, b: nt_xent(a, b, temperature=0.1),
        lambda a, b: hcl(a, b, temperature=0.1, tau_plus=0.1, beta=1.0),
    ],
)
def test_losses_are_computed_in_float32_inside_autocast(loss):
    """bf16 keeps 8 bits: a Gram matrix in it moves the loss by more than float32's rounding."""
    z1, z2 = (z.float() for z in pair(32, 64))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (z1 @ z2.T).dtype == torch.bfloat16
        inside = loss(z1, z2)
    assert inside.dtype == torch.float32 and inside.item() == loss(z1, z2).item()
