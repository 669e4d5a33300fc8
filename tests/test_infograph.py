"""InfoGraph's losses against the authors' masked formulas and slow loops, and its methods against steps by hand."""

import copy
import itertools
import math

import pytest
import torch
from graph_method_cases import graph_method, graphs_of, one_step, train_a_step
from torch import Tensor
from torch.nn import functional

from contrastbench.errors import UserError
from contrastbench.methods import Batch
from contrastbench.models.graph_heads import ShortcutNetwork
from contrastbench.models.heads import Projection
from contrastbench.objectives.infograph import infograph_hcl_loss, infograph_loss
from contrastbench.objectives.infograph_unremix import infograph_unremix_loss, score_graphs, weights_of_scores
from contrastbench.objectives.unremix import Scores, negative_weights

LOG_2 = math.log(2)
GRAPHS = 7
WEIGHTING = {
    "weights": (0.2, 0.5, 0.3),
    "uncertainty": "norm",
    "pseudo_label": "argmax",
    "posterior_temperature": None,
    "standardized": False,
    "normalization": "minmax",
    "sharpness": (1.0, 1.0, 1.0),
    "distance": "euclidean",
    "detach_weights": True,
}


def scored(scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes (n, 5) and graphs (7, 5) in float64, and which graph a node belongs to: one has no nodes."""
    generator = torch.Generator().manual_seed(0)
    batch = torch.tensor([0, 0, 0, 1, 2, 2, 4, 4, 4, 4, 5, 6])
    nodes, graphs = (torch.randn(count, 5, generator=generator, dtype=torch.float64) for count in (len(batch), GRAPHS))
    return (scale * nodes).requires_grad_(), graphs.requires_grad_(), batch


def masked(nodes: Tensor, graphs: Tensor, batch: Tensor) -> tuple[Tensor, Tensor, int, int]:
    """Scores times the authors' masks of positives and of negatives; n and B - 1."""
    positive = functional.one_hot(batch, len(graphs)).double()
    score = nodes @ graphs.T
    return score * positive, score * (1 - positive), len(nodes), len(graphs) - 1


def published(nodes: Tensor, graphs: Tensor, batch: Tensor) -> Tensor:
    """``local_global_loss_`` with the measure ``JSD``."""
    positive, negative, n, others = masked(nodes, graphs, batch)
    e_pos = (LOG_2 - functional.softplus(-positive)).sum() / n
    e_neg = (functional.softplus(-negative) + negative - LOG_2).sum() / (n * others)
    return e_neg - e_pos


def published_hard(nodes: Tensor, graphs: Tensor, batch: Tensor, tau_plus: float, beta: float, sign: float) -> Tensor:
    """``local_global_loss_`` with the measure ``JSD_hard``, whose ``sign`` is -1."""
    positive, negative, n, others = masked(nodes, graphs, batch)
    debias = tau_plus / (1 - tau_plus)
    e_pos = LOG_2 - functional.softplus(-positive) - debias * (functional.softplus(-positive) + positive)
    e_neg = functional.softplus(-negative) + negative
    if beta == 0:
        e_neg = (e_neg - LOG_2) / (1 - tau_plus)
    else:
        weight = (beta * sign * 2 * negative / max(negative.max(), negative.min().abs())).exp()
        e_neg = weight / weight.mean(dim=1, keepdim=True) * e_neg / (1 - tau_plus) - LOG_2
    return e_neg.sum() / (n * others) - e_pos.sum() / n


def without_own(score: Tensor, batch: Tensor) -> Tensor:
    """(n, B) -> (n, B - 1): each node's scores with the other graphs."""
    return torch.stack([row[torch.arange(GRAPHS) != own] for row, own in zip(score, batch, strict=True)])


def equal_gradients(ours: Tensor, theirs: Tensor, inputs: tuple[Tensor, ...]) -> None:
    for a, b in zip(torch.autograd.grad(ours, inputs), torch.autograd.grad(theirs, inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_infograph_equals_the_published_formula_and_a_loop(scale):
    nodes, graphs, batch = scored(scale)
    ours, theirs = infograph_loss(nodes, graphs, batch), published(nodes, graphs, batch)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    equal_gradients(ours, theirs, (nodes, graphs))
    pulled, pushed = [], []
    for (i, node), (j, graph) in itertools.product(enumerate(nodes.tolist()), enumerate(graphs.tolist())):
        s = sum(a * b for a, b in zip(node, graph, strict=True))
        if batch[i] == j:
            pulled.append(LOG_2 - math.log1p(math.exp(-s)))
        else:
            pushed.append(math.log1p(math.exp(s)) - LOG_2)
    assert ours.item() == pytest.approx(sum(pushed) / len(pushed) - sum(pulled) / len(pulled), rel=1e-5)


@pytest.mark.parametrize("tau_plus", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("beta", [0.0, 1.0, 10.0])
@pytest.mark.parametrize("sign", ["published", "hard"])
def test_hard_negatives_equal_the_published_formula_but_for_constants(tau_plus, beta, sign):
    nodes, graphs, batch = scored()
    ours = infograph_hcl_loss(nodes, graphs, batch, tau_plus=tau_plus, beta=beta, sign=sign)
    theirs = published_hard(nodes, graphs, batch, tau_plus, beta, -1 if sign == "published" else 1)
    constant = tau_plus / (1 - tau_plus) * LOG_2 * (GRAPHS - 1 - (GRAPHS / (GRAPHS - 1) if beta == 0 else 0))
    assert ours.item() + constant == pytest.approx(theirs.item(), rel=1e-5)
    equal_gradients(ours, theirs, (nodes, graphs))
    if tau_plus == beta == 0:
        assert ours.item() == pytest.approx(infograph_loss(nodes, graphs, batch).item(), rel=1e-5)


# ---- UnReMix's weights


def by_the_definition(nodes, graphs, batch, uncertainty, pseudo_label, temperature, distance):
    """The three scores, one node and one negative at a time; ``graphs`` come from a ShortcutNetwork."""
    network, pooled = graphs
    output = network(pooled)
    mean = [nodes[batch == k].mean(dim=0).nan_to_num() for k in range(GRAPHS)]  # of no nodes: 0
    gradients = []
    for j in range(GRAPHS):
        logits = torch.stack([network(pooled[j]) @ mean[k].detach() for k in range(GRAPHS)]) / temperature
        label = logits.argmax() if pseudo_label == "argmax" else torch.tensor(j)
        loss = functional.cross_entropy(logits, label)
        gradient = torch.autograd.grad(loss, (network.shortcut.weight, network.shortcut.bias))
        gradients.append(torch.cat([part.flatten() for part in gradient]))
    z = functional.normalize(output, dim=1).detach()
    scores = []
    for i, own in enumerate(batch.tolist()):
        for j in set(range(GRAPHS)) - {own}:
            similarity = (nodes[i] @ output[j]).item()
            rest = [k for k in range(GRAPHS) if k not in (j, own)]
            far = [(z[j] - z[k]).norm() if distance == "euclidean" else 1 - z[j] @ z[k] for k in rest]
            uncertain = {
                "norm": gradients[j].norm(),
                "gradsim": gradients[own] @ gradients[j],
                "infonce_z": torch.sigmoid(torch.tensor(similarity)),
            }[uncertainty]
            scores.append((float(uncertain), similarity, float(sum(far) / len(far))))
    return torch.tensor(scores, dtype=torch.float64).T.reshape(3, len(batch), GRAPHS - 1)


@pytest.mark.parametrize("uncertainty", ["norm", "gradsim", "infonce_z"])
@pytest.mark.parametrize("pseudo_label", ["argmax", "alignment"])
@pytest.mark.parametrize(("temperature", "distance"), [(None, "euclidean"), (2.0, "cosine")])
def test_scores_equal_their_definition(uncertainty, pseudo_label, temperature, distance):
    nodes, pooled, batch = (tensor.detach() for tensor in scored())
    torch.manual_seed(0)
    network = ShortcutNetwork(5).double()
    graphs = Projection(pooled, network(pooled).detach())
    others = without_own(nodes.requires_grad_() @ graphs.output.T, batch)
    ours = score_graphs(
        nodes,
        graphs,
        batch,
        others,
        uncertainty=uncertainty,
        pseudo_label=pseudo_label,
        posterior_temperature=temperature,
        distance=distance,
    )
    expected = by_the_definition(
        nodes, (network, pooled), batch, uncertainty, pseudo_label, temperature or 1.0, distance
    )
    torch.testing.assert_close(torch.stack(ours), expected, rtol=1e-5, atol=1e-7)
    assert ours[0].requires_grad == (uncertainty == "infonce_z")  # a pseudo-label's nodes are constants


@pytest.mark.parametrize("normalization", ["minmax", "softmix", "exp"])
@pytest.mark.parametrize("standardized", [False, True])
@pytest.mark.parametrize("weights", [(0.2, 0.5, 0.3), (0.0, 1.0, 0.0)])
@pytest.mark.parametrize("sharpness", [(1.0, 1.0, 1.0), (2.0, 0.5, 0.0)])
@pytest.mark.parametrize("constant", [0, 1, 3])
def test_weights_are_those_of_unremix_for_the_same_scores(normalization, standardized, weights, sharpness, constant):
    """Of images, an anchor's negatives stand in the columns of all samples but two."""
    size = 24
    negative = ~torch.eye(size // 2, dtype=torch.bool).repeat(2, 2)
    columns = torch.randn(3, size, size, generator=torch.Generator().manual_seed(1))
    columns[:, :, 5] = 50.0  # beyond the clip
    columns[3 - constant :] = 0.5
    settings = {"standardized": standardized, "normalization": normalization, "sharpness": sharpness}
    expected = negative_weights(Scores(*columns, "both"), weights, temperature=1.0, **settings)[negative]
    ours = weights_of_scores(tuple(columns[:, negative].reshape(3, size, size - 2)), weights, **settings)
    torch.testing.assert_close(ours.flatten(), expected)
    torch.testing.assert_close(ours.mean(dim=1), torch.ones(size))


def test_the_loss_weights_each_negative():
    nodes, graphs, batch = scored()
    side = Projection(2 * graphs, graphs)
    score = (nodes @ graphs.T).detach()
    others = without_own(score, batch)
    keys = ("uncertainty", "pseudo_label", "posterior_temperature", "distance")
    scores = score_graphs(nodes, side, batch, others, **{key: WEIGHTING[key] for key in keys})
    keys = ("weights", "standardized", "normalization", "sharpness")
    weight = weights_of_scores(scores, **{key: WEIGHTING[key] for key in keys}).detach()
    assert weight.max() > 1.5
    negative = functional.one_hot(batch, GRAPHS) == 0
    everywhere = torch.zeros(len(batch), GRAPHS, dtype=torch.float64).masked_scatter(negative, weight)
    score = nodes @ graphs.T
    pushed = (everywhere * (functional.softplus(score) - LOG_2)).sum() / negative.sum()
    theirs = pushed - (LOG_2 - functional.softplus(-score[~negative])).mean()
    ours = infograph_unremix_loss(nodes, side, batch, **WEIGHTING)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    equal_gradients(ours, theirs, (nodes, graphs))  # the weights carry none
    ours = infograph_unremix_loss(nodes, side, batch, **WEIGHTING)
    attached = infograph_unremix_loss(nodes, side, batch, **WEIGHTING | {"detach_weights": False})
    assert attached.item() == pytest.approx(ours.item())
    through_weights = torch.autograd.grad(attached, nodes)[0] - torch.autograd.grad(ours, nodes)[0]
    assert through_weights.abs().max() > 1e-3


@pytest.mark.parametrize("normalization", ["minmax", "softmix", "exp"])
def test_equal_weights_are_infograph(normalization):
    nodes, graphs, batch = scored()
    flat = WEIGHTING | {"normalization": normalization, "sharpness": (0.0, 0.0, 0.0)}
    ours = infograph_unremix_loss(nodes, Projection(graphs, graphs), batch, **flat)
    assert ours.item() == pytest.approx(infograph_loss(nodes, graphs, batch).item(), rel=1e-5)


# ---- edges


LOSSES = {
    "infograph": lambda nodes, graphs, batch: infograph_loss(nodes, graphs, batch),
    "infograph-hcl": lambda nodes, graphs, batch: infograph_hcl_loss(
        nodes, graphs, batch, tau_plus=0.5, beta=10.0, sign="hard"
    ),
    "infograph-unremix": lambda nodes, graphs, batch: infograph_unremix_loss(
        nodes, Projection(graphs, graphs), batch, **WEIGHTING | {"detach_weights": False, "sharpness": (0.5, 1.0, 0.5)}
    ),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("value", [0.0, 1.0, 300.0])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_losses_stay_finite(name, value, kind):
    """Duplicates, scores of 0, and scores far beyond what an exponential holds."""
    nodes, graphs = (torch.full((count, 4), value, dtype=kind).requires_grad_() for count in (6, 3))
    loss = LOSSES[name](nodes, graphs, torch.tensor([0, 0, 1, 1, 2, 2]))
    loss.backward()
    assert loss.isfinite() and loss.dtype == torch.float32
    assert nodes.grad.isfinite().all() and graphs.grad.isfinite().all()
    if value == 0 and name != "infograph-hcl":
        assert loss.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("name", "least"), [("infograph", 2), ("infograph-hcl", 2), ("infograph-unremix", 3)])
def test_too_few_graphs(name, least):
    with pytest.raises(UserError, match=f"at least {least} graphs, not {least - 1}"):
        LOSSES[name](torch.ones(3, 4), torch.ones(least - 1, 4), torch.zeros(3, dtype=torch.long))


# ---- methods

HCL = {"tau_plus": 0.2, "beta": 3.0, "sign": "hard"}
UNREMIX = WEIGHTING | {
    "uncertainty": "gradsim",
    "pseudo_label": "alignment",
    "posterior_temperature": 3.0,
    "standardized": True,
    "normalization": "exp",
    "sharpness": (1.0, 2.0, 0.5),
    "distance": "cosine",
    "detach_weights": False,
}
CONTRASTS = {
    "infograph": ({}, lambda nodes, side, batch: infograph_loss(nodes, side.output, batch)),
    "infograph-hcl": (HCL, lambda nodes, side, batch: infograph_hcl_loss(nodes, side.output, batch, **HCL)),
    "infograph-unremix": (UNREMIX, lambda nodes, side, batch: infograph_unremix_loss(nodes, side, batch, **UNREMIX)),
}


def three_layers(network: torch.nn.Module, x: Tensor) -> Tensor:
    """A ReLU after each of three linear layers, and a linear shortcut."""
    *layers, shortcut = (layer for layer in network.modules() if isinstance(layer, torch.nn.Linear))
    hidden = x
    for layer in layers:
        hidden = functional.linear(hidden, layer.weight, layer.bias).relu()
    return hidden + functional.linear(x, shortcut.weight, shortcut.bias)


@pytest.mark.parametrize("name", CONTRASTS)
def test_a_step_tells_each_nodes_graph_from_the_others(name):
    settings, contrast = CONTRASTS[name]
    method = graph_method(name, **settings)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # biases are not 0 any more
    twin, graphs = copy.deepcopy(method), graphs_of(GRAPHS)
    output = method.training_step(Batch(graphs, [], torch.arange(GRAPHS), None), one_step())
    nodes = twin.encoder.nodes(graphs)
    pooled = torch.stack([nodes[graphs.batch == k].sum(dim=0) for k in range(GRAPHS)])
    side = Projection(pooled, three_layers(twin.graph_network, pooled))
    expected = contrast(three_layers(twin.node_network, nodes), side, graphs.batch)
    torch.testing.assert_close(output["loss"], expected)
    torch.testing.assert_close(output["embeddings"], side.output.detach())
    output["loss"].backward()
    expected.backward()
    for ours, by_hand in zip(method.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, by_hand.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", CONTRASTS)
def test_networks_begin_as_published(name):
    method = graph_method(name)
    assert not method.uses_labels and not method.networks()
    for network in (method.node_network, method.graph_network):
        layers = [layer for layer in network.modules() if isinstance(layer, torch.nn.Linear)]
        assert len(layers) == 4
        for layer in layers:
            assert layer.weight.shape == (96, 96) and not layer.bias.any()
            assert layer.weight.abs().max().item() == pytest.approx(math.sqrt(6 / 192), rel=1e-2)  # Xavier's bound
    assert not method.node_network.shortcut.weight.equal(method.graph_network.shortcut.weight)
    untrained = graph_method("random").encoder.state_dict()
    for key, value in method.encoder.state_dict().items():
        assert value.equal(untrained[key])  # trained from the weights of the reference row


def test_training_augments_nothing(tmp_path):
    def augment(graphs, generator):
        raise AssertionError("augmented")

    train_a_step("infograph", tmp_path, augment)
