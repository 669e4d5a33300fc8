"""The graph encoder: equal to dense adjacency matrices, blind to the order of nodes and to the rest of the batch."""

import pytest
import torch
from graph_cases import apart, batch_of, random_graphs

from contrastbench.augment.graph_batch import GraphBatch
from contrastbench.models.gin import GIN
from contrastbench.params.graphs import GINParams

FEATURES = 5
PARAMS = GINParams(layers=3, width=4)


@pytest.fixture
def encoder() -> GIN:
    """In float64, after a training step, so that BatchNorm's statistics are not those it begins with."""
    torch.manual_seed(0)
    model = GIN(PARAMS, (FEATURES,)).double()
    model(random_graphs(6, FEATURES, seed=9))
    for norm in model.norms:
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    return model.eval()


def dense(model: GIN, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    """One graph's features (D,), from its adjacency matrix; BatchNorm as the formula of its evaluation."""
    adjacency = torch.zeros(len(x), len(x), dtype=torch.float64)
    for source, target in edges.T.tolist():
        adjacency[target, source] += 1
    pooled = []
    for convolution, norm in zip(model.convolutions, model.norms, strict=True):
        first, _, second = convolution.nn
        hidden = ((adjacency + torch.eye(len(x))) @ x @ first.weight.T + first.bias).clamp(min=0)
        x = (hidden @ second.weight.T + second.bias).clamp(min=0)
        x = (x - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
        pooled.append(x.sum(0))
    return torch.cat(pooled)


def test_features_equal_those_of_dense_adjacency_matrices(encoder):
    graphs = random_graphs(7, FEATURES, seed=1)  # with directed edges, so that a transposed matrix is noticed
    found = encoder(graphs)
    assert found.shape == (7, encoder.features) and encoder.features == 12
    torch.testing.assert_close(found, torch.stack([dense(encoder, *part) for part in apart(graphs)]))


def test_batchnorm_follows_relu_and_sees_all_nodes_of_the_batch():
    torch.manual_seed(0)
    model = GIN(GINParams(layers=1, width=4), (FEATURES,)).double()
    nodes = model.nodes(random_graphs(5, FEATURES, seed=2))
    torch.testing.assert_close(nodes.mean(0), torch.zeros(4, dtype=torch.float64))
    lowest = nodes.amin(0)  # what ReLU made 0, in many nodes alike
    assert ((nodes == lowest).sum(0) > 1).any()


def test_a_permutation_of_the_nodes_changes_nothing(encoder):
    graphs = random_graphs(1, FEATURES, seed=3)
    order = torch.randperm(len(graphs.x), generator=torch.Generator().manual_seed(0))
    permuted = GraphBatch(graphs.x[order], order.argsort()[graphs.edge_index], graphs.batch, 1)
    torch.testing.assert_close(encoder(permuted), encoder(graphs))
    torch.testing.assert_close(encoder.nodes(permuted), encoder.nodes(graphs)[order])


def test_features_of_a_graph_do_not_depend_on_its_batch(encoder):
    graphs = random_graphs(6, FEATURES, seed=4)
    alone = [encoder(batch_of([part])) for part in apart(graphs)]
    torch.testing.assert_close(encoder(graphs), torch.cat(alone))


def test_nodes_are_pooled_into_what_forward_returns(encoder):
    graphs = random_graphs(4, FEATURES, seed=5)
    nodes = encoder.nodes(graphs)
    assert nodes.shape == (len(graphs.x), encoder.features)
    assert torch.equal(encoder.pool(nodes, graphs), encoder(graphs))


def test_graphs_without_edges_and_with_one_node(encoder):
    x = torch.randn(3, FEATURES, dtype=torch.float64)
    none = torch.zeros(2, 0, dtype=torch.int64)
    graphs = batch_of([(x[:1], none), (x, none)])
    torch.testing.assert_close(encoder(graphs), torch.stack([dense(encoder, x[:1], none), dense(encoder, x, none)]))


@pytest.mark.parametrize("training", [False, True])
def test_graphs_without_nodes_get_zeros(encoder, training):
    part = random_graphs(1, FEATURES, seed=6)
    graphs = GraphBatch(part.x, part.edge_index, part.batch + 1, 4)  # the second of four
    found = encoder.train(training)(graphs)
    assert found[1].abs().sum() > 0 and not found[[0, 2, 3]].any()
    empty = GraphBatch(graphs.x[:0], graphs.edge_index[:, :0], graphs.batch[:0], 2)
    assert torch.equal(encoder(empty), torch.zeros(2, encoder.features, dtype=torch.float64))


def test_linear_layers_begin_xavier_uniform_with_biases_0():
    torch.manual_seed(0)
    model = GIN(GINParams(layers=2, width=64), (40,))
    linear = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(40, 64), (64, 64), (64, 64), (64, 64)]
    for layer in linear:
        bound = (6 / (layer.in_features + layer.out_features)) ** 0.5
        assert not layer.bias.any()
        assert 0.98 * bound < layer.weight.abs().max() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


def test_the_seed_decides_the_weights():
    first, second, other = (seeded(seed) for seed in (0, 0, 1))
    assert torch.equal(first, second) and not torch.equal(first, other)


def seeded(seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    return torch.cat([weight.flatten() for weight in GIN(PARAMS, (FEATURES,)).parameters()])
