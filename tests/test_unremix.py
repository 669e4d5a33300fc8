"""UnReMix: closed forms against autograd, weights against a loop, and its identities."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from contrastbench.errors import UserError
from contrastbench.models.heads import Projection
from contrastbench.objectives.contrastive import hcl, nt_xent
from contrastbench.objectives.unremix import (
    Scores,
    gradient_factors,
    negative_mask,
    negative_weights,
    unremix_loss,
    weighted,
)

SETTINGS = {
    "temperature": 0.5,
    "weights": (1 / 3, 1 / 3, 1 / 3),
    "uncertainty": "norm",
    "pseudo_label": "argmax",
    "posterior_temperature": None,
    "standardized": False,
    "normalization": "minmax",
    "sharpness": (1.0, 1.0, 1.0),
    "distance": "euclidean",
    "negatives": "both",
    "detach_weights": True,
    "tau_plus": 0.0,
}


def projections(batch: int, seed: int = 0, hidden: int = 7, dim: int = 5) -> tuple[Projection, Projection]:
    generator = torch.Generator().manual_seed(seed)
    v1 = torch.randn(batch, hidden, generator=generator)
    v2 = v1 + 0.5 * torch.randn(batch, hidden, generator=generator)
    w = torch.randn(hidden, dim, generator=generator)
    return Projection(v1, v1 @ w), Projection(v2, v2 @ w)


@pytest.mark.parametrize("pseudo_label", ["argmax", "alignment"])
@pytest.mark.parametrize("bias", [True, False])
def test_closed_form_gradient_equals_autograd(pseudo_label, bias):
    """||g_j|| = ||delta_j|| ||[v_j; 1]|| and <g_i, g_j> = (delta_i . delta_j)([v_i; 1] . [v_j; 1])."""
    torch.manual_seed(0)
    batch, temperature = 6, 0.4
    last = nn.Linear(7, 5, bias=bias).double()
    v = torch.randn(2 * batch, 7, dtype=torch.float64)
    o = last(v)
    z = functional.normalize(o, dim=1)
    delta = gradient_factors(z, o.norm(dim=1), temperature=temperature, pseudo_label=pseudo_label)

    gradients = []
    for j in range(2 * batch):
        other = z[batch:] if j < batch else z[:batch]
        own = functional.normalize(last(v[j]), dim=0)
        logits = own @ other.detach().T / temperature
        label = logits.argmax() if pseudo_label == "argmax" else torch.tensor(j % batch)
        loss = functional.cross_entropy(logits.unsqueeze(0), label.unsqueeze(0))
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(last.parameters()))]))
    g = torch.stack(gradients)

    extra = 1.0 if bias else 0.0
    inner = (delta @ delta.T) * (v @ v.T + extra)
    torch.testing.assert_close(inner, g @ g.T, rtol=1e-8, atol=1e-12)
    norms = delta.norm(dim=1) * (v.square().sum(dim=1) + extra).sqrt()
    torch.testing.assert_close(norms, g.norm(dim=1), rtol=1e-8, atol=1e-12)


def loop_mixture(scores, settings):
    """One anchor's weights (N,) from its three scores, each a float64 vector (N,), by the formulas of the docstring."""
    count, normalization = len(scores[0]), settings["normalization"]
    if settings["standardized"]:
        scores = [((c - c.mean()) / c.std(correction=0)).clamp(-4, 4) for c in scores]
    elif normalization == "softmix":
        scores[1] = scores[1] / settings["temperature"]
    shares = list(zip(settings["weights"], settings["sharpness"], scores, strict=True))
    if normalization == "softmix":
        return sum(share * count * (b * c).exp() / (b * c).exp().sum() for share, b, c in shares)
    if normalization == "minmax" or not settings["standardized"]:
        shares = [(share, b, (c - c.min()) / (c.max() - c.min())) for share, b, c in shares]
    if normalization == "exp":
        h = torch.exp(sum(share * b * c for share, b, c in shares))
    else:
        h = sum(share * c**b for share, b, c in shares)
    return h / h.mean()


def loop_weights(first, second, settings):
    """Specification 1.4, one anchor and one negative at a time, in float64."""
    o = torch.cat([first.output, second.output]).double()
    v = torch.cat(
        [torch.cat([first.hidden, second.hidden]).double(), torch.ones(len(o), 1, dtype=torch.float64)], dim=1
    )
    z = functional.normalize(o, dim=1)
    batch, n = len(first.output), 2 * len(first.output)
    tau = settings["temperature"]
    posterior = settings["posterior_temperature"] or tau
    delta = []
    for j in range(n):
        others = [(j + batch) % n if k == j % batch else (k + batch if j < batch else k) for k in range(batch)]
        p = torch.softmax(torch.stack([z[j] @ z[k] for k in others]) / posterior, dim=0)
        label = int(p.argmax()) if settings["pseudo_label"] == "argmax" else j % batch
        a = sum((p[k] - float(k == label)) * z[others[k]] for k in range(batch)) / posterior
        delta.append((a - z[j] * (z[j] @ a)) / o[j].norm())

    def distance(i, j):
        return (z[i] - z[j]).norm() if settings["distance"] == "euclidean" else 1 - z[i] @ z[j]

    result = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        negatives = [j for j in range(n) if j % batch != i % batch]
        if settings["negatives"] == "other":
            negatives = [j for j in negatives if (j < batch) != (i < batch)]
        count = len(negatives)
        if settings["uncertainty"] == "norm":
            u = torch.stack([delta[j].norm() * v[j].norm() for j in negatives])
        elif settings["uncertainty"] == "gradsim":
            u = torch.stack([(delta[i] @ delta[j]) * (v[i] @ v[j]) for j in negatives])
        else:
            u = torch.softmax(torch.stack([z[i] @ z[j] for j in negatives]) / tau, dim=0)
        s = torch.stack([z[i] @ z[j] for j in negatives])
        r = torch.stack([sum(distance(j, k) for k in negatives if k != j) / (count - 1) for j in negatives])
        result[i, negatives] = loop_mixture([u, s, r], settings)
    return result


@pytest.mark.parametrize(
    "changes",
    [
        dict(zip(("uncertainty", "normalization", "negatives"), values, strict=True))
        for values in itertools.product(
            ("norm", "gradsim", "infonce_z"), ("minmax", "softmix", "exp"), ("both", "other")
        )
    ]
    + [
        {"standardized": True, "normalization": normalization, "negatives": negatives, "sharpness": (0.5, 2.0, 3.0)}
        for normalization in ("minmax", "softmix", "exp")
        for negatives in ("both", "other")
    ]
    + [{"normalization": normalization, "sharpness": (2.0, 0.0, 0.5)} for normalization in ("minmax", "softmix", "exp")]
    + [
        {"distance": "cosine"},
        {"pseudo_label": "alignment"},
        {"weights": (0.7, 0.1, 0.2)},
        {"weights": (0.5, 0.5, 0.0), "standardized": True, "normalization": "exp", "posterior_temperature": 0.1},
        {"posterior_temperature": 0.1, "uncertainty": "gradsim"},
        {"posterior_temperature": 0.1, "uncertainty": "infonce_z"},
    ],
)
def test_weights_equal_a_loop_have_mean_one_and_are_never_negative(changes):
    settings = SETTINGS | changes
    first, second = projections(6)
    _, weight, scores = weighted(first, second, **{k: v for k, v in settings.items() if k != "tau_plus"})
    torch.testing.assert_close(weight.double(), loop_weights(first, second, settings), rtol=2e-4, atol=2e-5)
    assert (weight >= 0).all()
    means = weight.sum(dim=1) / scores.negative.sum(dim=1)
    torch.testing.assert_close(means, torch.ones_like(means), rtol=1e-5, atol=1e-5)
    assert (weight[~scores.negative] == 0).all()


@pytest.mark.parametrize("tau_plus", [0.0, 0.1])
def test_loss_equals_a_loop_over_the_weights(tau_plus):
    first, second = projections(6)
    weight = loop_weights(first, second, SETTINGS)
    z = functional.normalize(torch.cat([first.output, second.output]).double(), dim=1)
    total = 0.0
    for i in range(12):
        positive = math.exp(float(z[i] @ z[(i + 6) % 12]) / 0.5)
        ng = sum(float(weight[i, j]) * math.exp(float(z[i] @ z[j]) / 0.5) for j in range(12))
        ng = max((ng - tau_plus * 10 * positive) / (1 - tau_plus), 10 * math.exp(-2))
        total -= math.log(positive / (positive + ng))
    loss = unremix_loss(first, second, **SETTINGS | {"tau_plus": tau_plus})
    assert loss.item() == pytest.approx(total / 12, rel=1e-5)


@pytest.mark.parametrize("normalization", ["minmax", "exp", "softmix"])
@pytest.mark.parametrize("negatives", ["both", "other"])
def test_gradients_equal_those_of_a_loop_over_the_weights(normalization, negatives):
    first, second = projections(6)
    outputs = [p.output.clone().requires_grad_() for p in (first, second)]
    settings = SETTINGS | {"normalization": normalization, "negatives": negatives, "temperature": 0.2}
    live = [Projection(p.hidden, o) for p, o in zip((first, second), outputs, strict=True)]
    ours = torch.autograd.grad(unremix_loss(*live, **settings), outputs)
    weight = loop_weights(first, second, settings)
    z = functional.normalize(torch.cat(outputs).double(), dim=1)
    total = sum(
        (
            sum(weight[i, j] * (z[i] @ z[j] / 0.2).exp() for j in range(12)) / (z[i] @ z[(i + 6) % 12] / 0.2).exp()
        ).log1p()
        for i in range(12)
    )
    for a, b in zip(ours, torch.autograd.grad(total / 12, outputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_constant_scores_give_simclr():
    """Orthogonal embeddings, equal gradient norms: every score is constant, every weight is 1."""
    output = torch.eye(8)[:4], torch.eye(8)[4:]
    first, second = (Projection(torch.ones(4, 3), o) for o in output)
    loss = unremix_loss(first, second, **SETTINGS)
    assert loss.item() == pytest.approx(nt_xent(*output, temperature=0.5).item(), rel=1e-5)


def standardized(**changes):
    """The specification's section 7: w = N softmax_j(kappa * sum_c lambda_c z_c)."""
    return SETTINGS | {"standardized": True, "normalization": "exp"} | changes


def test_section_7_is_expressible():
    kappa, lambdas = 2.0, (0.5, 0.3, 0.2)
    first, second = projections(6)
    settings = standardized(sharpness=(kappa,) * 3, weights=lambdas, posterior_temperature=0.1)
    _, weight, scores = weighted(first, second, **{k: v for k, v in settings.items() if k != "tau_plus"})
    for i, negative in enumerate(scores.negative):
        columns = [c[i][negative].double() for c in scores.by_name.values()]
        z = [((c - c.mean()) / c.std(correction=0)).clamp(-4, 4) for c in columns]
        expected = 10 * torch.softmax(kappa * sum(share * c for share, c in zip(lambdas, z, strict=True)), dim=0)
        torch.testing.assert_close(weight[i][negative].double(), expected, rtol=2e-4, atol=2e-5)


def test_an_outlier_weighs_no_more_than_four_deviations():
    """One negative at cosine 1 among many at 0 is clipped: at sharpness 1 it has e^4 times the weight of the mean."""
    output = torch.eye(128)
    output[1] = output[0]
    first, second = Projection(torch.ones(64, 3), output[:64]), Projection(torch.ones(64, 3), output[64:])
    settings = standardized(weights=(0.0, 1.0, 0.0))
    weight = weighted(first, second, **{k: v for k, v in settings.items() if k != "tau_plus"})[1]
    mean, deviation = 1 / 126, (125 / 126**2) ** 0.5
    assert (1 - mean) / deviation > 4
    assert float(weight[0, 1] / weight[0, 2]) == pytest.approx(math.exp(4 + mean / deviation), rel=1e-4)


@pytest.mark.parametrize("normalization", ["minmax", "softmix", "exp"])
def test_constant_scores_give_equal_weights(normalization):
    """Standardised too, where float32 makes the scores of equal negatives differ in their last digit."""
    generator = torch.Generator().manual_seed(0)
    scores = [0.3 + 1e-8 * torch.randn(8, 8, generator=generator) for _ in range(3)]
    weight = negative_weights(
        Scores(*scores, "both"), (0.2, 0.3, 0.5),
        standardized=True, normalization=normalization, sharpness=(3.0, 3.0, 3.0), temperature=0.5,
    )  # fmt: skip
    torch.testing.assert_close(weight, negative_mask(4, "both", weight.device).float())


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_softmix_of_similarity_alone_is_hcl(beta):
    first, second = projections(8)
    settings = SETTINGS | {
        "normalization": "softmix",
        "weights": (0.0, 1.0, 0.0),
        "sharpness": (beta, beta, beta),
        "detach_weights": False,
    }
    outputs = [p.output.clone().requires_grad_() for p in (first, second)]
    ours = unremix_loss(Projection(first.hidden, outputs[0]), Projection(second.hidden, outputs[1]), **settings)
    theirs = hcl(*outputs, temperature=0.5, tau_plus=0.0, beta=beta)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    # With weights attached, as HCL's are, the gradients agree as well.
    for a, b in zip(torch.autograd.grad(ours, outputs), torch.autograd.grad(theirs, outputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)


def test_no_gradient_flows_through_detached_weights():
    first, second = projections(8)
    outputs = [p.output.clone().requires_grad_() for p in (first, second)]
    live = [Projection(p.hidden, o) for p, o in zip((first, second), outputs, strict=True)]
    gradient = torch.autograd.grad(unremix_loss(*live, **SETTINGS), outputs)
    _, weight, _ = weighted(first, second, **{k: v for k, v in SETTINGS.items() if k != "tau_plus"})
    z = functional.normalize(torch.cat(outputs), dim=1)
    s = z @ z.T / 0.5
    positive = torch.exp((z * z.roll(8, 0)).sum(1) / 0.5)
    plain = -(positive / (positive + (weight * torch.exp(s)).sum(1))).log().mean()
    for a, b in zip(gradient, torch.autograd.grad(plain, outputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    attached = torch.autograd.grad(unremix_loss(*live, **SETTINGS | {"detach_weights": False}), outputs)
    assert not torch.allclose(attached[0], gradient[0], rtol=1e-3)


def test_permutation_and_view_swap_change_nothing():
    first, second = projections(9)
    value = unremix_loss(first, second, **SETTINGS).item()
    assert unremix_loss(second, first, **SETTINGS).item() == pytest.approx(value, rel=1e-5)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    shuffled = [Projection(p.hidden[order], p.output[order]) for p in (first, second)]
    assert unremix_loss(*shuffled, **SETTINGS).item() == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("normalization", ["minmax", "softmix", "exp"])
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("changed", [{}, {"standardized": True}, {"sharpness": (0.5, 2.0, 0.0)}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_finite_with_duplicates_and_low_temperature(normalization, detach, changed, dtype):
    first, second = projections(8)
    parts = []
    for p in (first, second):
        hidden, output = p.hidden.clone(), p.output.clone()
        hidden[1], output[1] = hidden[0], output[0]
        parts.append(Projection(hidden.to(dtype), output.to(dtype).requires_grad_()))
    changes = {"normalization": normalization, "temperature": 0.05, "tau_plus": 0.1, "detach_weights": detach}
    loss = unremix_loss(*parts, **SETTINGS | changes | changed)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.output.grad).all() for p in parts)


def test_finite_where_all_weight_is_on_the_least_similar_negative(monkeypatch):
    """At so low a temperature it is nothing beside the negatives without weight."""

    def weigh(scores, weights, **settings):
        least = scores.similarity.masked_fill(~scores.negative, math.inf).argmin(dim=1, keepdim=True)
        return torch.zeros_like(scores.similarity).scatter(1, least, 4.0)

    monkeypatch.setattr("contrastbench.objectives.unremix.negative_weights", weigh)
    parts = [Projection(p.hidden, p.output.clone().requires_grad_()) for p in projections(3)]
    loss = unremix_loss(*parts, **SETTINGS | {"temperature": 0.001})
    loss.backward()
    assert torch.isfinite(loss) and all(torch.isfinite(p.output.grad).all() for p in parts)


def test_too_few_negatives_are_refused():
    first, second = projections(2)
    with pytest.raises(UserError, match="batch of at least 3"):
        unremix_loss(first, second, **SETTINGS | {"negatives": "other"})


def test_trains_on_plain_vectors():
    """Objectives see embeddings only: here they pull two views of vectors together without any encoder."""
    torch.manual_seed(0)
    data = torch.randn(64, 10)
    hidden, last = nn.Linear(10, 16), nn.Linear(16, 8)
    optimizer = torch.optim.Adam([*hidden.parameters(), *last.parameters()], lr=0.01)
    losses = []
    for _ in range(60):
        views = [torch.relu(hidden(data + 0.1 * torch.randn_like(data))) for _ in range(2)]
        loss = unremix_loss(*(Projection(v, last(v)) for v in views), **SETTINGS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5


def test_the_loss_is_computed_in_float32_inside_autocast():
    first, second = projections(16)
    first, second = (Projection(p.hidden.float(), p.output.float()) for p in (first, second))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = unremix_loss(first, second, **SETTINGS)
    assert inside.item() == unremix_loss(first, second, **SETTINGS).item()
