"""Sinkhorn codes, swapped prediction, prototypes and queue against a float64 loop and the invariants of SwAV."""

import math

import pytest
import torch
from torch.nn import functional

from contrastbench.models.prototypes import EmbeddingQueue, Prototypes
from contrastbench.objectives import swav
from contrastbench.objectives.swav import assignment_loss, sinkhorn_codes, swapped_prediction_loss


def cosines(batch: int, prototypes: int, seed: int = 0, dimension: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    z = functional.normalize(torch.randn(batch, dimension, generator=generator), dim=1)
    c = functional.normalize(torch.randn(prototypes, dimension, generator=generator), dim=1)
    return z @ c.T


def loop_codes(scores: torch.Tensor, epsilon: float, iterations: int) -> torch.Tensor:
    """distributed_sinkhorn of facebookresearch/swav in words (specification 1.2), one entry at a time, float64."""
    batch, count = scores.shape
    q = [[math.exp(float(scores[b, k]) / epsilon) for b in range(batch)] for k in range(count)]
    total = sum(map(sum, q))
    q = [[value / total for value in row] for row in q]
    for _ in range(iterations):
        q = [[value / sum(row) / count for value in row] for row in q]
        columns = [sum(row[b] for row in q) for b in range(batch)]
        q = [[row[b] / columns[b] / batch for b in range(batch)] for row in q]
    return torch.tensor([[row[b] * batch for row in q] for b in range(batch)], dtype=torch.float64)


@pytest.mark.parametrize("queued", [False, True])  # an accelerator's codes, chosen by epsilon alone
@pytest.mark.parametrize("epsilon", [0.01, 0.02, 0.03, 0.05, 0.5])  # the first two run on logarithms
@pytest.mark.parametrize("iterations", [1, 3, 10])
def test_codes_equal_a_float64_loop(monkeypatch, epsilon, iterations, queued):
    monkeypatch.setattr(swav, "is_queued", lambda device: queued)
    scores = cosines(12, 7)
    scores[0, 0], scores[:, 1] = 1.0, -1.0  # the whole range of cosines, and a prototype that is far from all
    codes = sinkhorn_codes(scores, epsilon=epsilon, iterations=iterations)
    assert codes.dtype == torch.float32
    torch.testing.assert_close(codes.double(), loop_codes(scores, epsilon, iterations), rtol=2e-4, atol=1e-7)


@pytest.mark.parametrize("epsilon", [0.001, 0.01, 0.05])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_codes_are_finite_and_their_rows_sum_to_one_in_every_precision(epsilon, dtype):
    scores = cosines(32, 20)
    scores[1] = scores[0]
    codes = sinkhorn_codes(scores.to(dtype), epsilon=epsilon, iterations=3)
    assert torch.isfinite(codes).all() and (codes >= 0).all()
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(32), rtol=1e-5, atol=1e-5)


def test_both_ways_of_scaling_agree_where_both_can():
    exponent = cosines(64, 30) / 0.05
    exponent = exponent - exponent.max()
    ours = swav._scaled(exponent.clone(), 3)
    torch.testing.assert_close(ours, swav._scaled_in_log_space(exponent, 3), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("seed", range(3))
def test_with_many_iterations_every_prototype_gets_the_same_mass(seed):
    codes = sinkhorn_codes(cosines(60, 12, seed), epsilon=0.05, iterations=500)
    torch.testing.assert_close(codes.sum(dim=0), torch.full((12,), 5.0), rtol=1e-3, atol=1e-3)
    few = sinkhorn_codes(cosines(60, 12, seed), epsilon=0.05, iterations=1)
    assert (few.sum(dim=0) - 5).abs().max() > 0.5  # so that the line above says something


def test_codes_follow_the_samples_and_the_prototypes_through_permutations():
    scores = cosines(10, 6)
    codes = sinkhorn_codes(scores, epsilon=0.05, iterations=3)
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.randperm(10, generator=generator), torch.randperm(6, generator=generator)
    permuted = sinkhorn_codes(scores[rows][:, columns], epsilon=0.05, iterations=3)
    torch.testing.assert_close(permuted, codes[rows][:, columns], rtol=1e-4, atol=1e-6)


def test_argmax_codes_are_the_soft_ones_rounded():
    scores = cosines(10, 6)
    soft = sinkhorn_codes(scores, epsilon=0.05, iterations=3)
    hard = sinkhorn_codes(scores, epsilon=0.05, iterations=3, kind="argmax")
    assert (hard.sum(dim=1) == 1).all() and (hard.max(dim=1).values == 1).all()
    assert (hard.argmax(dim=1) == soft.argmax(dim=1)).all()


def test_codes_carry_no_gradient():
    assert not sinkhorn_codes(cosines(8, 4).requires_grad_(), epsilon=0.05, iterations=3).requires_grad


def test_swapped_loss_equals_a_loop_for_two_and_three_views():
    scores = [cosines(5, 4, seed).double() for seed in range(3)]
    codes = [loop_codes(s, 0.05, 3) for s in scores]

    def term(view: int, assigning: int) -> float:
        total = 0.0
        for b in range(5):
            weights = [math.exp(float(scores[view][b, k]) / 0.1) for k in range(4)]
            total -= sum(float(codes[assigning][b, k]) * math.log(weights[k] / sum(weights)) for k in range(4))
        return total / 5

    two = swapped_prediction_loss(scores[:2], codes[:2], temperature=0.1)
    assert two.item() == pytest.approx((term(0, 1) + term(1, 0)) / 2, rel=1e-5)
    three = swapped_prediction_loss(scores, codes, temperature=0.1)
    pairs = [term(view, assigning) for assigning in range(3) for view in range(3) if view != assigning]
    assert three.item() == pytest.approx(sum(pairs) / 6, rel=1e-5)
    one = swapped_prediction_loss(scores, [None, codes[1], None], temperature=0.1)
    assert one.item() == pytest.approx((term(0, 1) + term(2, 1)) / 2, rel=1e-5)


def test_gradient_of_the_assignment_loss_is_posterior_minus_code():
    scores = cosines(5, 4).double().requires_grad_()
    codes = loop_codes(scores.detach(), 0.05, 3)
    (gradient,) = torch.autograd.grad(assignment_loss(scores, codes, temperature=0.1).sum(), scores)
    posterior = torch.softmax(scores.detach() / 0.1, dim=1)
    torch.testing.assert_close(gradient, (posterior - codes) / 0.1, rtol=1e-4, atol=1e-5)


def test_scores_are_cosines_and_stay_so_after_a_step():
    torch.manual_seed(0)
    prototypes = Prototypes(8, 5)
    z = functional.normalize(torch.randn(4, 8), dim=1)
    optimizer = torch.optim.SGD(prototypes.parameters(), lr=10.0)
    prototypes(z).square().sum().backward()
    optimizer.step()
    assert (prototypes.weight.norm(dim=1) - 1).abs().max() > 0.1
    prototypes.normalize()
    torch.testing.assert_close(prototypes.weight.norm(dim=1), torch.ones(5))
    torch.testing.assert_close(prototypes(prototypes.weight.detach()).diagonal(), torch.ones(5))
    assert len(list(prototypes.parameters())) == 1  # no bias


def test_half_precision_training_scores_in_float32():
    prototypes = Prototypes(8, 5)
    z = functional.normalize(torch.randn(4, 8), dim=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = prototypes(z)
        codes = sinkhorn_codes(scores, epsilon=0.05, iterations=3)
    torch.testing.assert_close(scores, z @ prototypes.weight.T, rtol=0, atol=1e-6)
    torch.testing.assert_close(codes, sinkhorn_codes(scores, epsilon=0.05, iterations=3), rtol=0, atol=0)


def test_queue_keeps_the_newest_of_each_view_and_says_when_it_is_full():
    queue = EmbeddingQueue(2, 5, 1)
    first, second, third = (torch.arange(3.0).view(3, 1) + 10 * n for n in range(3))
    queue.push(0, first)
    assert not queue.full(0)
    queue.push(0, second)
    assert queue.full(0) and not queue.full(1)
    queue.push(0, third)
    assert queue.embeddings[0, :, 0].tolist() == [20, 21, 22, 10, 11]
    assert queue.embeddings[1].abs().sum() == 0
    queue.push(1, torch.arange(7.0).view(7, 1))  # a batch longer than the queue
    assert queue.embeddings[1, :, 0].tolist() == [0, 1, 2, 3, 4]
    restored = EmbeddingQueue(2, 5, 1)
    restored.load_state_dict(queue.state_dict())
    assert restored.full(0) and torch.equal(restored.embeddings, queue.embeddings)


def test_scores_that_say_nothing_give_ln_k():
    """Cosines in 10,000 dimensions are almost 0: posteriors are uniform whatever the codes are."""
    scores = [cosines(64, 30, seed, dimension=10_000) for seed in range(2)]
    codes = [sinkhorn_codes(s, epsilon=0.05, iterations=3) for s in scores]
    assert swapped_prediction_loss(scores, codes, temperature=0.1).item() == pytest.approx(math.log(30), rel=0.01)
