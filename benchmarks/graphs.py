"""Time of augmentation, of training and of the published protocol on graphs, against GraphCL's way and scikit-learn.

    python benchmarks/graphs.py [--seconds 20] [--data data/prepared/proteins] [--tiny]

CPU time of one thread; the sides take turns, and medians and their ratios are printed. GraphCL's way is what its code
does with each graph by itself, written anew: a copy of its ``Data``, one of the four changes of ``aug.py`` (by way of
an adjacency matrix), torch-geometric's batch, and ``gsimclr.py``'s search for nodes without edges. An epoch is every
batch read, augmented, and stepped with, by the same encoder, loss and optimiser on both sides. The protocol is a grid
search for a support vector machine's C in two of the outer folds, on features of an untrained encoder.

Where the folder of ``--data`` is missing, graphs of about PROTEINS' sizes are made.
"""

import argparse
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from losses import in_turns
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.svm import SVC
from torch.nn.functional import one_hot
from torch_geometric.data import Batch, Data

from contrastbench.augment.graph_batch import GraphBatch
from contrastbench.augment.graphs import augment_graphs
from contrastbench.datasets.graph_store import StoredGraphs
from contrastbench.datasets.store import open_prepared
from contrastbench.evaluation.folds import Fold, svm_verdicts
from contrastbench.methods import Batch as Examples
from contrastbench.methods import Step, method_class
from contrastbench.modalities import modality
from contrastbench.params.graph_track import GraphTrack
from contrastbench.params.graphs import FoldsParams
from contrastbench.params.root import load

ROOT = Path(__file__).resolve().parent.parent


def without_nodes(graph: Data, dropped: np.ndarray) -> Data:
    """The edges that are left by way of the adjacency matrix; the nodes themselves stay for now."""
    adjacency = torch.zeros(len(graph.x), len(graph.x))
    adjacency[graph.edge_index[0], graph.edge_index[1]] = 1
    adjacency[dropped, :] = 0
    adjacency[:, dropped] = 0
    graph.edge_index = adjacency.nonzero().t()
    return graph


def drop_nodes(graph: Data, rng: np.random.Generator) -> Data:
    """A tenth of the nodes go."""
    count = len(graph.x)
    dropped = rng.choice(count, count // 10, replace=False)
    kept = [node for node in range(count) if node not in dropped]
    _ = {node: position for position, node in enumerate(kept)}  # as there, where nothing uses it
    return without_nodes(graph, dropped)


def drop_edges(graph: Data, rng: np.random.Generator) -> Data:
    """A tenth of the directed edges go."""
    count = graph.edge_index.shape[1]
    graph.edge_index = graph.edge_index[:, rng.choice(count, count - count // 10, replace=False)]
    return graph


def subgraph(graph: Data, rng: np.random.Generator) -> Data:
    """A fifth of the nodes stay: GraphCL's loop, with the union of neighbours that its code forgets."""
    (source, target), count = graph.edge_index.numpy(), len(graph.x)
    kept = [rng.integers(count)]
    neighbours = set(target[source == kept[0]])
    for _ in range(count):
        if len(kept) > count // 5 or not neighbours:
            break
        node = rng.choice(list(neighbours))
        if node not in kept:
            kept.append(node)
            neighbours |= set(target[source == node])
    return without_nodes(graph, np.array([node for node in range(count) if node not in kept], dtype=np.int64))


def mask_nodes(graph: Data, rng: np.random.Generator) -> Data:
    """A tenth of the nodes get random features."""
    count, features = graph.x.shape
    masked = rng.choice(count, count // 10, replace=False)
    graph.x[masked] = torch.tensor(rng.normal(0.5, 0.5, (len(masked), features)), dtype=torch.float32)
    return graph


def collated(graphs: list[Data]) -> GraphBatch:
    """Graphs as one batch."""
    together = Batch.from_data_list(graphs)
    return GraphBatch(together.x, together.edge_index, together.batch, together.num_graphs)


def with_edges_only(graphs: GraphBatch) -> GraphBatch:
    """Without the nodes that have no edge, searched for one by one, and without the loops of the others."""
    source, target = graphs.edge_index.numpy()
    kept = [node for node in range(len(graphs.x)) if node in source or node in target]
    number = {node: position for position, node in enumerate(kept)}
    edges = [[number[source[n]], number[target[n]]] for n in range(len(source)) if source[n] != target[n]]
    return GraphBatch(graphs.x[kept], torch.tensor(edges).t().contiguous(), graphs.batch[kept], graphs.num_graphs)


def graphcls_view(graphs: list[Data], rng: np.random.Generator) -> GraphBatch:
    """One change of every graph, of a kind drawn for it."""
    kinds = (drop_nodes, drop_edges, subgraph, mask_nodes)
    return with_edges_only(collated([kinds[rng.integers(4)](deepcopy(graph), rng) for graph in graphs]))


def one_by_one(graphs: StoredGraphs, index: np.ndarray) -> list[Data]:
    """Graphs as GraphCL's data set hands them out: with loops at all nodes but the last."""
    found = []
    for graph in index:
        labels = graphs.labels[graphs.offsets[graph] : graphs.offsets[graph + 1]]
        edges = graphs.edges[graphs.edge_offsets[graph] : graphs.edge_offsets[graph + 1]]
        x = one_hot(torch.from_numpy(labels.astype(np.int64)), graphs.kinds).float()
        loops = torch.tensor([[node, node] for node in range(len(labels) - 1)]).reshape(-1, 2).t()
        found.append(Data(x, torch.cat([torch.from_numpy(edges.astype(np.int64)).t(), loops], dim=1)))
    return found


def made(count: int) -> tuple[StoredGraphs, np.ndarray]:
    """Rings with chords, about as large as PROTEINS' graphs, and labels that alternate."""
    rng = np.random.default_rng(0)
    sizes = np.minimum(10 + rng.geometric(1 / 30, count), 620)
    edges = []
    for size in sizes:
        ring = np.stack([np.arange(size), (np.arange(size) + 1) % size], axis=1)
        chords = rng.integers(size, size=(size, 2))
        ends = np.concatenate([ring, chords[chords[:, 0] != chords[:, 1]]])
        edges.append(np.concatenate([ends, ends[:, ::-1]]).astype(np.int32))
    offsets, edge_offsets = (np.cumsum([0, *counts]) for counts in (sizes, map(len, edges)))
    labels = rng.integers(3, size=offsets[-1]).astype(np.int32)
    return StoredGraphs(labels, offsets, np.concatenate(edges), edge_offsets), np.arange(count) % 2


def batches(count: int, size: int) -> Iterator[np.ndarray]:
    """Positions of the graphs of each batch of an epoch."""
    order = np.random.default_rng(0).permutation(count)
    return (np.sort(order[begin : begin + size]) for begin in range(0, count - size + 1, size))


def inputs(graphs: StoredGraphs, index: np.ndarray) -> Any:
    """Graphs as contrastbench reads them: a GraphBatch."""
    return modality("graph").inputs(graphs[index], torch.device("cpu"))


def compare(title: str, ours: Callable[[], object], other: str, theirs: Callable[[], object], seconds: float) -> None:
    """Print the medians of both sides, and how many times ours theirs is."""
    medians = in_turns({"contrastbench": ours, other: theirs}, seconds)
    shown = ", ".join(f"{name} {milliseconds:.2f} ms" for name, milliseconds in medians.items())
    print(f"{title}: {shown}; ratio {medians[other] / medians['contrastbench']:.1f}", flush=True)


def augmentation(graphs: StoredGraphs, track: GraphTrack, size: int, seconds: float) -> None:
    """One view of a batch."""
    index = next(batches(len(graphs), size))
    apart, batch = one_by_one(graphs, index), inputs(graphs, index)
    generator, rng = torch.Generator().manual_seed(0), np.random.default_rng(0)
    compare(
        f"augmentation, B = {size}",
        lambda: augment_graphs(batch, track.augment, generator),
        "GraphCL's way",
        lambda: graphcls_view(apart, rng),
        seconds,
    )


def epoch(graphs: StoredGraphs, track: GraphTrack, size: int, seconds: float) -> None:
    """Every batch of an epoch, from stored graphs to Adam's step."""
    rng = np.random.default_rng(0)

    def epoch_of(read: Callable[[np.ndarray, torch.Generator], tuple[Any, Any]]) -> Callable[[], None]:
        torch.manual_seed(0)
        method = method_class("graphcl").from_params(track.pretrain("graphcl", "mutag"), (graphs.kinds,), 2).train()
        optimizer = torch.optim.Adam(method.parameters(), lr=track.training.graphcl.learning_rate)
        generator = torch.Generator().manual_seed(0)

        def run() -> None:
            for index in batches(len(graphs), size):
                clean, view = read(index, generator)
                batch = Examples(clean, [view], torch.from_numpy(index), None)
                loss = method.training_step(batch, Step(0, 1, 1, generator))["loss"]
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

        return run

    def ours(index: np.ndarray, generator: torch.Generator) -> tuple[Any, Any]:
        clean = inputs(graphs, index)
        return clean, augment_graphs(clean, track.augment, generator)

    def theirs(index: np.ndarray, generator: torch.Generator) -> tuple[Any, Any]:
        apart = one_by_one(graphs, index)
        return collated(apart), graphcls_view(apart, rng)

    compare(f"epoch of GraphCL, B = {size}", epoch_of(ours), "GraphCL's way", epoch_of(theirs), seconds)


def protocol(graphs: StoredGraphs, labels: np.ndarray, track: GraphTrack, seconds: float) -> None:
    """The published protocol in two outer folds."""
    params = track.folds
    torch.manual_seed(0)
    with torch.no_grad():
        encoder = modality("graph").build_encoder(track.encoder, (graphs.kinds,)).eval()
        x = encoder(inputs(graphs, np.arange(len(graphs)))).numpy()
    split = StratifiedKFold(params.outer, shuffle=True, random_state=0).split(x, labels)
    folds = [Fold(train, test, 0) for train, test in split][:2]
    assert svm_verdicts(x, labels, folds, params).accuracies == scikit_learn(x, labels, folds, params)
    compare(
        "nested SVM, two folds",
        lambda: svm_verdicts(x, labels, folds, params),
        "scikit-learn",
        lambda: scikit_learn(x, labels, folds, params),
        seconds,
    )


def scikit_learn(x: np.ndarray, labels: np.ndarray, folds: list[Fold], params: FoldsParams) -> list[float]:
    """The accuracy in each fold."""
    accuracies = []
    for fold in folds:
        within = StratifiedKFold(params.inner, shuffle=True, random_state=fold.seed)
        search = GridSearchCV(SVC(), {"C": sorted(params.strengths)}, cv=within)
        search.fit(x[fold.train], labels[fold.train])
        accuracies.append(search.score(x[fold.test], labels[fold.test]))
    return accuracies


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="of each comparison, at least one turn")
    parser.add_argument("--data", type=Path, default=ROOT / "data/prepared/proteins", help="prepared graphs")
    parser.add_argument("--tiny", action="store_true", help="least sizes, to see that this script works")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    track = load(root=ROOT).track("graphs")
    assert isinstance(track, GraphTrack)
    if arguments.tiny or not arguments.data.is_dir():
        name, (graphs, labels) = "made", made(120 if arguments.tiny else 1113)
    else:
        data = open_prepared(arguments.data)
        name, graphs, labels = data.meta.name, StoredGraphs.of(data, "train"), np.asarray(data.y("train"))
    size = 8 if arguments.tiny else track.batches.get(name, track.training.graphcl.batch_size)
    seconds = 0.1 if arguments.tiny else arguments.seconds
    print(f"{name}: {len(graphs)} graphs, {len(graphs.labels)} nodes, {len(graphs.edges)} directed edges")
    augmentation(graphs, track, size, seconds)
    epoch(graphs, track, size, seconds)
    protocol(graphs, labels, track, seconds)


if __name__ == "__main__":
    main()
