"""GraphCL's loss against its formula, and each method on GraphCL's host against its step written by hand."""

import copy
import math

import pytest
import torch
from graph_method_cases import graph_method, graphs_of, one_step, train_a_step
from torch.nn import functional

from contrastbench.augment.graph_batch import GraphBatch
from contrastbench.errors import UserError
from contrastbench.methods import Batch, Method
from contrastbench.models.heads import Projection
from contrastbench.objectives.contrastive import dcl, hcl, nt_xent
from contrastbench.objectives.graphcl import graphcl_loss
from contrastbench.objectives.unremix import unremix_loss

GRAPHS = 12
UNREMIX = {
    "temperature": 0.3,
    "weights": (0.2, 0.5, 0.3),
    "uncertainty": "gradsim",
    "pseudo_label": "alignment",
    "posterior_temperature": 0.7,
    "standardized": True,
    "normalization": "exp",
    "sharpness": (1.0, 2.0, 0.5),
    "distance": "cosine",
    "negatives": "other",
    "detach_weights": False,
    "tau_plus": 0.05,
}
# Settings of the test's own, and the loss with them.
CONTRASTS = {
    "graphcl": ({"temperature": 0.3}, lambda a, b: graphcl_loss(a.output, b.output, temperature=0.3)),
    "graphcl-simclr": ({"temperature": 0.4}, lambda a, b: nt_xent(a.output, b.output, temperature=0.4)),
    "graphcl-dcl": (
        {"temperature": 0.4, "tau_plus": 0.02},
        lambda a, b: dcl(a.output, b.output, temperature=0.4, tau_plus=0.02),
    ),
    "graphcl-hcl": (
        {"temperature": 0.4, "tau_plus": 0.02, "beta": 2.0},
        lambda a, b: hcl(a.output, b.output, temperature=0.4, tau_plus=0.02, beta=2.0),
    ),
    "graphcl-unremix": (UNREMIX, lambda a, b: unremix_loss(a, b, **UNREMIX)),
}


def pair(batch: int, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(batch)
    z1 = torch.randn(batch, dim, generator=generator, dtype=torch.float64)
    return z1, z1 + 0.5 * torch.randn(batch, dim, generator=generator, dtype=torch.float64)


def loop(z1, z2, temperature):
    """Equation 3 of the paper for view 1 as the anchor: one graph and one negative at a time."""
    total = 0.0
    for n, anchor in enumerate(z1.tolist()):
        similarity = [
            sum(a * b for a, b in zip(anchor, other, strict=True)) / (math.hypot(*anchor) * math.hypot(*other))
            for other in z2.tolist()
        ]
        negatives = sum(math.exp(s / temperature) for j, s in enumerate(similarity) if j != n)
        total -= math.log(math.exp(similarity[n] / temperature) / negatives)
    return total / len(z1)


@pytest.mark.parametrize("batch", [2, 5, 16])
@pytest.mark.parametrize("temperature", [0.1, 0.2, 1.0])
def test_the_loss_equals_a_loop(batch, temperature):
    z1, z2 = pair(batch, 6)
    expected = loop(z1, z2, temperature)
    assert graphcl_loss(z1, z2, temperature=temperature).item() == pytest.approx(expected, rel=2e-5, abs=2e-6)


def test_loss_and_gradients_equal_those_of_the_published_formula():
    """The formula of ``loss_cal`` in GraphCL's code, in float64."""
    z1, z2 = (z.requires_grad_() for z in pair(8, 5))
    similarity = (z1 @ z2.T / torch.outer(z1.norm(dim=1), z2.norm(dim=1)) / 0.2).exp()
    positive = similarity.diagonal()
    theirs = -(positive / (similarity.sum(dim=1) - positive)).log().mean()
    ours = graphcl_loss(z1, z2, temperature=0.2)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    for a, b in zip(torch.autograd.grad(ours, (z1, z2)), torch.autograd.grad(theirs, (z1, z2)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


def test_anchors_are_the_graphs_alone():
    z1, z2 = pair(6, 4)
    assert graphcl_loss(z1, z2, temperature=0.2).item() != pytest.approx(graphcl_loss(z2, z1, temperature=0.2).item())


@pytest.mark.parametrize("z", [torch.ones(4, 3), 1e4 * torch.eye(4), torch.eye(4, dtype=torch.bfloat16)])
def test_the_loss_stays_finite(z):
    z.requires_grad_()
    loss = graphcl_loss(z, z.detach(), temperature=0.01)
    loss.backward()
    assert loss.isfinite() and z.grad.isfinite().all() and loss.dtype == torch.float32


def test_a_batch_of_one_has_no_negatives():
    with pytest.raises(UserError, match="at least 2, not 1"):
        graphcl_loss(torch.ones(1, 3), torch.ones(1, 3), temperature=0.2)


# ---- the host


def project(method: Method, graphs: GraphBatch) -> Projection:
    """The two layers of the projector: biases, ReLU, nothing else."""
    first, last = (layer for layer in method.projector.modules() if isinstance(layer, torch.nn.Linear))
    hidden = functional.linear(method.encoder(graphs), first.weight, first.bias).relu()
    return Projection(hidden, functional.linear(hidden, last.weight, last.bias))


@pytest.mark.parametrize("name", CONTRASTS)
def test_a_step_contrasts_the_graphs_with_their_augmented_versions(name):
    settings, contrast = CONTRASTS[name]
    method = graph_method(name, **settings)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # biases are not 0 any more
    twin = copy.deepcopy(method)
    clean, augmented = graphs_of(GRAPHS), graphs_of(GRAPHS, seed=1)
    output = method.training_step(Batch(clean, [augmented], torch.arange(GRAPHS), None), one_step())
    first, second = project(twin, clean), project(twin, augmented)
    expected = contrast(first, second)
    torch.testing.assert_close(output["loss"], expected)
    torch.testing.assert_close(output["embeddings"], first.output.detach())
    output["loss"].backward()
    expected.backward()
    for ours, by_hand in zip(method.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, by_hand.grad)


@pytest.mark.parametrize("name", CONTRASTS)
def test_the_host_is_published(name):
    method = graph_method(name)
    assert method.number_of_views == 1 and not method.uses_labels and not method.networks()
    assert [type(layer).__name__ for layer in method.projector.modules()][2:] == ["Linear", "ReLU", "Linear"]
    for layer in method.projector.modules():
        if isinstance(layer, torch.nn.Linear):
            assert layer.weight.shape == (96, 96) and not layer.bias.any()
            assert layer.weight.abs().max().item() == pytest.approx(math.sqrt(6 / 192), rel=1e-2)  # Xavier's bound
    untrained = graph_method("random").encoder.state_dict()
    for key, value in method.encoder.state_dict().items():
        assert value.equal(untrained[key])  # trained from the weights of the reference row


@pytest.mark.parametrize("name", sorted(CONTRASTS.keys() - {"graphcl-simclr"}))  # NT-Xent itself has nothing to compare
def test_what_the_stage_diagnostics_asks_for(name):
    method = graph_method(name)
    clean, augmented = graphs_of(GRAPHS), graphs_of(GRAPHS, seed=1)
    method.training_step(Batch(clean, [augmented], torch.arange(GRAPHS), None), one_step())
    measured = method.diagnose(Batch(clean, [augmented], torch.arange(GRAPHS), None), torch.zeros(GRAPHS))
    assert 0 < measured["gradient_cosine"] < 0.9999
    with torch.no_grad():
        ranked = method.weightings(method.project(clean), method.project(augmented))
    negative = ~torch.eye(GRAPHS, dtype=torch.bool).repeat(2, 2)
    assert ("weights" in ranked) == (name in ("graphcl-hcl", "graphcl-unremix"))
    for weight in ranked.values():
        assert weight.isfinite().equal(negative)


def test_training_augments_once_a_step(tmp_path):
    seen = []

    def augment(graphs, generator):
        seen.append(graphs)
        return graphs

    train_a_step("graphcl", tmp_path, augment)
    assert [graphs.num_graphs for graphs in seen] == [8]
