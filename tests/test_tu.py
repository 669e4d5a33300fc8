"""Graphs from files: the TU layout and arrays, what is refused and how, and the sets as published."""

import importlib.util
import itertools
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from small_project import prepared_data

from contrastbench import registry
from contrastbench.datasets import adapter, fetch, mutag
from contrastbench.datasets.base import Adapter, Split
from contrastbench.datasets.graph_arrays import read_npz
from contrastbench.datasets.tu import SPLIT_RULE, published, read_tu
from contrastbench.errors import UserError
from contrastbench.params.data import DataParams

CLASSES = ("no", "yes")
PARAMS = DataParams(validation_fraction=0.1)
# A path of three nodes, two nodes with an edge, and one node alone.
FILES = {
    "A": "2, 3\n1, 2\n2, 1\n3, 2\n5, 4\n4, 5\n",
    "graph_indicator": "1\n1\n1\n2\n2\n3\n",
    "graph_labels": "1\n-1\n1\n",
    "node_labels": "5\n9\n5\n7\n7\n9\n",
}
ARRAYS = {
    "y": [1, -1, 1],
    "offsets": [0, 3, 5, 6],
    "edges": [[1, 2], [0, 1], [1, 0]],
    "edge_offsets": [0, 2, 3, 3],
    "node_labels": [5, 9, 5, 7, 7, 9],
}
EDGES = [[0, 1], [1, 0], [1, 2], [2, 1], [0, 1], [1, 0]]


def write(parent: Path, files: Mapping[str, str | None], name: str = "OWN") -> Path:
    """A folder in the TU layout; files whose text is None are left out."""
    folder = parent / name
    folder.mkdir(parents=True)
    for kind, text in files.items():
        if text is not None:
            (folder / f"{name}_{kind}.txt").write_text(text)
    return folder


def save(parent: Path, arrays: Mapping[str, object]) -> Path:
    path = parent / "own.npz"
    np.savez(path, **{name: np.array(array) for name, array in arrays.items() if array is not None})
    return path


def values(split: Split) -> dict[str, list]:
    assert split.y is not None
    return {name: array.tolist() for name, array in {"x": split.x, "y": split.y, **split.columns}.items()}


def dtypes(split: Split) -> dict[str, str]:
    return {name: str(array.dtype) for name, array in {"x": split.x, **split.columns}.items()}


EXPECTED = {
    "x": [0, 2, 0, 1, 1, 2],
    "y": [1, 0, 1],
    "offsets": [0, 3, 5, 6],
    "edges": EDGES,
    "edge_offsets": [0, 4, 6, 6],
}


@pytest.fixture
def read_anew(tmp_path):
    """The one split of files in the TU layout."""
    return lambda files, **options: read_tu(write(tmp_path, files), CLASSES, **options)["train"]


def test_a_folder(read_anew):
    split = read_anew(FILES)
    assert values(split) == EXPECTED and split.count == 3
    assert dtypes(split) == {"x": "int32", "offsets": "int64", "edges": "int32", "edge_offsets": "int64"}


@pytest.mark.parametrize("inside", ["OWN/", "", "deeper/OWN/"])
def test_a_zip(tmp_path, inside):
    with zipfile.ZipFile(tmp_path / "OWN.zip", "w") as zipped:
        for kind, text in {**FILES, "edge_labels": "no numbers"}.items():
            zipped.writestr(f"{inside}OWN_{kind}.txt", text)
    assert values(read_tu(tmp_path / "OWN", CLASSES)["train"]) == EXPECTED


def test_arrays_are_the_same_graphs(tmp_path):
    assert values(read_npz(save(tmp_path, ARRAYS), CLASSES)["train"]) == EXPECTED
    without = read_npz(save(tmp_path, {**ARRAYS, "node_labels": None}), CLASSES)["train"]
    assert values(without) == {**EXPECTED, "x": [1, 2, 1, 1, 1, 0]}


def test_arrays_of_graphs_without_any_edge(tmp_path):
    arrays = {"y": [0, 1], "offsets": [0, 1, 3], "edges": np.zeros((0, 2), np.int64), "edge_offsets": [0, 0, 0]}
    split = read_npz(save(tmp_path, arrays), CLASSES)["train"]
    assert split.columns["edges"].shape == (0, 2) and split.columns["edge_offsets"].tolist() == [0, 0, 0]
    assert split.x.tolist() == [0, 0, 0]


def test_a_list_of_pytorch_geometric(tmp_path):
    """The lines of CONTRIBUTING.md."""
    graphs = [
        SimpleNamespace(num_nodes=3, num_edges=4, edge_index=np.array(EDGES[:4]).T, y=np.array([1])),
        SimpleNamespace(num_nodes=2, num_edges=2, edge_index=np.array(EDGES[4:]).T, y=np.array([0])),
    ]
    np.savez(
        tmp_path / "own.npz",
        y=[int(graph.y[0]) for graph in graphs],
        offsets=np.cumsum([0, *(graph.num_nodes for graph in graphs)]),
        edges=np.concatenate([graph.edge_index.T for graph in graphs]),
        edge_offsets=np.cumsum([0, *(graph.num_edges for graph in graphs)]),
    )
    assert values(read_npz(tmp_path / "own.npz", CLASSES)["train"])["edges"] == EDGES


@pytest.mark.parametrize(("constant", "labels"), [(False, [1, 2, 1, 1, 1, 0]), (True, [0] * 6)])
def test_nodes_without_labels(read_anew, constant, labels):
    assert read_anew({**FILES, "node_labels": None}, constant=constant).x.tolist() == labels


def test_constant_hides_labels(read_anew):
    assert read_anew(FILES, constant=True).x.tolist() == [0] * 6


def test_edges_listed_in_one_direction(read_anew):
    once = read_anew({**FILES, "A": "5,4\n3,2\n2,1\n", "node_labels": None})
    assert once.columns["edges"].tolist() == EDGES and once.x.tolist() == [1, 2, 1, 1, 1, 0]


def test_repeated_edges_and_edges_from_a_node_to_itself(read_anew):
    split = read_anew({**FILES, "A": FILES["A"] * 2 + "6,6\n1,1\n", "node_labels": None})
    assert split.columns["edges"].tolist() == EDGES and split.x.tolist() == [1, 2, 1, 1, 1, 0]


def test_random_graphs_against_sets(tmp_path):
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 9, 40)
    first = np.cumsum([0, *sizes])
    lines, neighbours = [], [[set() for _ in range(size)] for size in sizes]
    for number, size in enumerate(sizes):
        for a, b in rng.integers(0, size, (rng.integers(0, 12), 2)).tolist():
            lines.append(f"{first[number] + a + 1}, {first[number] + b + 1}")
            if a != b:
                neighbours[number][a].add(b)
                neighbours[number][b].add(a)
    rng.shuffle(lines)
    labels = rng.integers(-1, 2, 40)
    files = {
        "A": "\n".join(lines),
        "graph_indicator": "\n".join(str(n + 1) for n, size in enumerate(sizes) for _ in range(size)),
        "graph_labels": "\n".join(map(str, labels)),
    }
    split = read_tu(write(tmp_path, files), ("a", "b", "c"))["train"]
    expected = [[[a, b] for a, to in enumerate(nodes) for b in sorted(to)] for nodes in neighbours]
    at = split.columns["edge_offsets"]
    assert [split.columns["edges"][a:b].tolist() for a, b in itertools.pairwise(at)] == expected
    assert split.columns["offsets"].tolist() == first.tolist()
    assert split.x.tolist() == [len(to) for nodes in neighbours for to in nodes]
    assert split.y.tolist() == (labels + 1).tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"A": None}, "OWN_A.txt: no such file"),
        ({"graph_indicator": None}, "OWN_graph_indicator.txt: no such file"),
        ({"graph_labels": None}, "OWN_graph_labels.txt: no such file"),
        ({"A": ""}, "OWN_A.txt: empty"),
        ({"node_labels": " \n"}, "OWN_node_labels.txt: empty"),
        ({"A": "1, x\n"}, "OWN_A.txt: not a readable table .*' x'.*2 whole numbers"),
        ({"A": "1, 2\n1\n"}, "OWN_A.txt: not a readable table .*2 to 1.*2 whole numbers"),
        ({"A": "1, 2, 3\n"}, "OWN_A.txt: 3 numbers per line; expected 2 whole numbers"),
        ({"A": "1 2\n"}, "OWN_A.txt: not a readable table"),
        ({"graph_labels": "0.5\n1\n2\n"}, r"OWN_graph_labels.txt: not a readable table .*1 whole number per line"),
        ({"graph_labels": "1, 2\n-1, 3\n1, 4\n"}, "OWN_graph_labels.txt: 2 numbers per line"),
        ({"graph_indicator": "1\n1\n2\n1\n2\n3\n"}, "OWN_graph_indicator.txt, line 4: .* sort nodes by graph"),
        ({"graph_indicator": "1\n1\n1\n2\n2\n4\n"}, "line 6: a graph that has no label; graphs are 1 to 3"),
        ({"graph_indicator": "0\n1\n1\n2\n2\n3\n"}, "line 1: a graph that has no label; graphs are 1 to 3"),
        ({"graph_indicator": "1\n1\n1\n3\n3\n3\n"}, "graph 2 has a label, but no node"),
        ({"graph_labels": "1\n-1\n1\n1\n"}, "graph 4 has a label, but no node"),
        ({"A": "1, 2\n3, 7\n"}, "OWN_A.txt, line 2: a node that does not exist; nodes are 1 to 6"),
        ({"A": "1, 2\n1, 3\n0, 2\n"}, "OWN_A.txt, line 3: a node that does not exist"),
        ({"A": "1, 2\n3, 4\n"}, "OWN_A.txt, line 2: an edge between two graphs"),
        ({"node_labels": "5\n9\n"}, "OWN_node_labels.txt: 2 lines, but 6 in .*OWN_graph_indicator.txt"),
        ({"graph_labels": "1\n1\n1\n"}, "OWN_graph_labels.txt: graphs of two classes at least are needed, found: 1"),
        ({"graph_labels": "0\n1\n2\n"}, r"3 classes \(0, 1, 2\), but the adapter names 2: no, yes"),
    ],
)
def test_refused_files(read_anew, changes, message):
    with pytest.raises(UserError, match=message) as refusal:
        read_anew({**FILES, **changes})
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"edges": None}, r"no array edges; it must be whole numbers \(any, 2\)"),
        ({"y": [0.5, 1, 2]}, r"y is float64 \(3,\); it must be whole numbers"),
        ({"edges": [[0, 1, 2]]}, r"edges is int64 \(1, 3\); it must be whole numbers \(any, 2\)"),
        ({"offsets": [0, 3, 6]}, r"offsets is int64 \(3,\); it must be whole numbers \(4\)"),
        ({"node_labels": [1, 2]}, r"node_labels is int64 \(2,\); it must be whole numbers \(6\)"),
        ({"offsets": [0, 3, 3, 6]}, "offsets must begin with 0 and increase"),
        ({"offsets": [1, 3, 5, 6]}, "offsets must begin with 0 and increase"),
        ({"edge_offsets": [0, 2, 1, 3]}, "edge_offsets must begin with 0, never decrease, and end with 3"),
        ({"edge_offsets": [0, 2, 2, 2]}, "edge_offsets must begin with 0, never decrease, and end with 3"),
        ({"edge_offsets": [1, 2, 3, 3]}, "edge_offsets must begin with 0, never decrease, and end with 3"),
        ({"edges": [[1, 2], [0, 1], [1, 2]]}, r"edges\[2\] joins nodes \[1, 2\] of a graph of 2"),
        ({"edges": [[1, 2], [-1, 1], [1, 0]]}, r"edges\[1\] joins nodes \[-1, 1\] of a graph of 3"),
        ({"y": [1, 1, 1]}, "graphs of two classes at least are needed, found: 1"),
    ],
)
def test_refused_arrays(tmp_path, changes, message):
    with pytest.raises(UserError, match=message) as refusal:
        read_npz(save(tmp_path, {**ARRAYS, **changes}), CLASSES)
    assert "\n" not in str(refusal.value)


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match=r"OWN: no such folder, nor OWN.zip beside it; it must hold OWN_A.txt"):
        read_tu(tmp_path / "OWN", CLASSES)
    with pytest.raises(UserError, match=r"own.npz: no such file"):
        read_npz(tmp_path / "own.npz", CLASSES)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 broken"])
def test_no_archive(tmp_path, content):
    (tmp_path / "OWN.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"OWN.zip: not a readable zip archive"):
        read_tu(tmp_path / "OWN", CLASSES)
    (tmp_path / "own.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"own.npz: not a readable file of np.savez"):
        read_npz(tmp_path / "own.npz", CLASSES)


def test_pickled_arrays_are_not_loaded(tmp_path):
    path = tmp_path / "own.npz"
    np.savez(path, y=np.array([{}, None]))
    with pytest.raises(UserError, match=r"not a readable file of np.savez"):
        read_npz(path, CLASSES)


def test_mutag_comes_with_grakel(tmp_path):
    data = prepared_data(tmp_path, "mutag", 0.2)
    assert [*data.meta.splits] == ["train"] and data.meta.split_rule == SPLIT_RULE
    assert np.bincount(data.y("train")).tolist() == [63, 125] and data.meta.classes[1] == "mutagenic"
    assert np.bincount(data.x("train")).tolist() == [2395, 345, 593, 12, 1, 23, 2]  # C N O F I Cl Br
    assert data.column("train", "edges").shape == (7442, 2)


def test_mutag_without_grakel(tmp_path, monkeypatch):
    elsewhere = SimpleNamespace(origin=str(tmp_path / "grakel" / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: elsewhere)
    with pytest.raises(UserError, match=r"MUTAG: no such folder.*install the version of grakel"):
        mutag.ADAPTER.read(tmp_path, PARAMS)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="package grakel, which is not installed; run `make install`"):
        mutag.ADAPTER.read(tmp_path, PARAMS)


@pytest.mark.parametrize("name", ["ptc-mr", "imdb-multi-constant"])
@pytest.mark.parametrize("unpacked", [False, True])
def test_published_sets_are_checked_by_their_files(tmp_path, name, unpacked):
    source = adapter(name)
    (folder,) = source.unpacked
    raw = tmp_path / "raw"
    files = write(raw if unpacked else tmp_path, FILES, folder)
    if not unpacked:
        (tmp_path / "mirror").mkdir()
        with zipfile.ZipFile(tmp_path / "mirror" / f"{folder}.zip", "w") as zipped:
            for file in files.iterdir():
                zipped.write(file, f"{folder}/{file.name}")
    (found,) = fetch.fetch(source, raw, tmp_path / "mirror" if not unpacked else None)
    assert found == raw / (folder if unpacked else f"{folder}.zip")
    with pytest.raises(UserError, match=rf"{folder}_A.txt: wrong file \(md5 .*, published .*delete it and fetch again"):
        source.read(raw, PARAMS)


@pytest.mark.parametrize(("constant", "labels"), [(False, EXPECTED["x"]), (True, [0] * 6)])
def test_a_published_set_may_be_read_with_all_nodes_alike(tmp_path, constant, labels):
    write(tmp_path, FILES)
    source = published("own", "OWN", CLASSES, nodes="numbers", md5={}, constant=constant)
    assert source.read(tmp_path, PARAMS)["train"].x.tolist() == labels


@pytest.mark.parametrize(("read", "file"), [(read_tu, "OWN"), (read_npz, "own.npz")])
def test_own_graphs_take_an_adapter_and_a_line(tmp_path, monkeypatch, read, file):
    own = Adapter(
        name="own",
        modality="graph",
        classes=CLASSES,
        licence="mine",
        source="drawn by me",
        split_rule=SPLIT_RULE,
        read=lambda raw, _: read(raw / file, CLASSES),
    )
    monkeypatch.setitem(registry.DATASETS, "own", "own_graphs")
    monkeypatch.setitem(sys.modules, "own_graphs", SimpleNamespace(ADAPTER=own))
    raw = tmp_path / "data" / "raw" / "own"
    write(raw, FILES)
    save(raw, ARRAYS)
    data = prepared_data(tmp_path, "own", 0.2)
    assert {"x": data.x("train").tolist(), "y": data.y("train").tolist()} == {k: EXPECTED[k] for k in ("x", "y")}
    assert data.meta.split_rule == SPLIT_RULE and [*data.meta.splits] == ["train"]


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "nodes", "edges", "kinds", "classes"),
    [
        ("ptc-mr", 4_915, 10_108, 18, [192, 152]),
        ("proteins", 43_471, 162_088, 3, [663, 450]),
        ("nci1", 122_747, 265_506, 37, [2053, 2057]),
        # Their files list every edge twice: 386,124 and 395,612 lines. One more label than the largest degree.
        ("imdb-binary", 19_773, 193_062, 136, [500, 500]),
        ("imdb-multi", 19_502, 197_806, 89, [500, 500, 500]),
        ("imdb-binary-constant", 19_773, 193_062, 1, [500, 500]),
    ],
)
def test_the_real_sets(real_data, tmp_path, name, nodes, edges, kinds, classes):
    archive = real_data / "tu" / adapter(name).archives[0].name
    if not archive.is_file():
        pytest.skip(f"no tu/{archive.name} in {real_data}")
    data = prepared_data(tmp_path, name, 0.2, mirror=real_data / "tu")
    assert (len(data.x("train")), len(data.column("train", "edges"))) == (nodes, edges)
    assert data.x("train").max() + 1 == kinds
    assert np.bincount(data.y("train")).tolist() == classes and len(data.meta.classes) == len(classes)


def test_a_misspelt_file_of_node_labels_is_refused(tmp_path):
    """Its nodes would have degrees for labels, without a word."""
    files = {kind: text for kind, text in FILES.items() if kind != "node_labels"} | {"node_label": FILES["node_labels"]}
    with pytest.raises(
        UserError, match=r"OWN_node_label.txt: a file of node labels is called OWN_node_labels.txt; ren"
    ):
        read_tu(write(tmp_path, files), CLASSES)
