"""What an adapter's ``read`` must not return: each is one line, and nothing is stored."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contrastbench.datasets import adapter
from contrastbench.datasets.base import Split
from contrastbench.datasets.graph_arrays import graphs_split
from contrastbench.datasets.returned import check_adapter, check_returned
from contrastbench.errors import UserError
from contrastbench.jobs.runtime import Runtime
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.stages import prepare as stage

PICTURES = Split(np.zeros((3, 4, 4, 1), np.uint8), np.array([0, 1, 0]))
SOUND = Split(np.zeros(9, np.int16), np.array([0, 1]), {"offsets": np.array([0, 4, 9])})
GRAPHS = graphs_split("mine", ("a", "b"), np.array([0, 1]), np.array([0, 0, 1, 1]), np.array([[0, 1], [2, 3]]), None)


def columns(split: Split, **changed: Any) -> Split:
    """A copy with other columns beside its own."""
    return replace(split, columns=split.columns | changed)


def test_what_the_docs_say_is_taken() -> None:
    unlabeled = replace(PICTURES, y=None)
    check_returned("mine", "image", 2, {"train": PICTURES, "test": PICTURES, "unlabeled": unlabeled})
    check_returned("mine", "image", 0, dict.fromkeys(("train", "validation", "test"), unlabeled))
    check_returned("mine", "audio", 2, {"train": SOUND, "test": SOUND})
    check_returned("mine", "graph", 2, {"train": GRAPHS})


@pytest.mark.parametrize(
    ("modality", "splits", "told"),
    [
        ("image", [PICTURES], "read must return a dict of Split"),
        ("image", {"train": (PICTURES.x, PICTURES.y)}, "read must return a dict of Split"),
        ("image", {"test": PICTURES}, "read returned no split 'train', but test"),
        (
            "image",
            {"train": replace(PICTURES, x=PICTURES.x / 255)},
            r"train: x is float64 \(3, 4, 4, 1\); expected",
        ),
        ("image", {"train": PICTURES}, "read returned no split 'test', but train"),
        (
            "image",
            {"train": PICTURES, "test": PICTURES, "val": PICTURES},
            "unknown split 'val'; known: train, validation, test",
        ),
        ("image", {"train": PICTURES, "test": PICTURES, "../x": PICTURES}, "unknown split '../x'; known: train"),
        ("image", {"train": PICTURES, "test": PICTURES, 3: PICTURES}, "unknown split 3; known: train"),
        ("image", {"train": PICTURES, "test": replace(PICTURES, y=None)}, "test has no labels, unlike train"),
        ("image", {"train": replace(PICTURES, y=None), "test": PICTURES}, "test has labels, unlike train"),
        ("image", dict.fromkeys(("train", "test"), replace(PICTURES, y=None)), "no split 'validation', which labels"),
        (
            "image",
            {"train": PICTURES, "test": replace(PICTURES, x=PICTURES.x[:, 1:])},
            r"test has pictures \(3, 4, 1\), and train \(4, 4, 1\)",
        ),
        ("image", {"train": replace(PICTURES, y=PICTURES.y * 0), "test": PICTURES}, "train has examples of one class"),
        ("image", {"train": replace(PICTURES, x=PICTURES.x[:0], y=PICTURES.y[:0]), "test": PICTURES}, "N at least 1"),
        (
            "image",
            {"train": columns(PICTURES, group=np.arange(2)), "test": PICTURES},
            r"train: the column 'group' is int64 \(2,\); expected an entry for each of 3 examples",
        ),
        (
            "image",
            {"train": columns(PICTURES, group=[0, 1, 2]), "test": PICTURES},
            "the column 'group' is list; expected",
        ),
        (
            "image",
            {"train": columns(PICTURES, group=np.array(["a", "b", None])), "test": PICTURES},
            r"train: the column 'group' is object \(3,\); expected an array of numbers or texts",
        ),
        ("graph", {"train": PICTURES}, r"x is uint8 \(3, 4, 4, 1\); expected int32"),
        ("graph", {"train": columns(GRAPHS, edges=GRAPHS.columns["edges"] + 1)}, r"x is int32 \(4,\); expected int32"),
        ("graph", {"train": columns(GRAPHS, edge_offsets=np.array([0, 2]))}, "expected int32"),
        ("image", {"train": replace(PICTURES, x=PICTURES.x[..., 0])}, r"train: x is uint8 \(3, 4, 4\); expected uint8"),
        ("image", {"train": replace(PICTURES, x=[1])}, "train: x is list; expected uint8"),
        (
            "image",
            {"train": PICTURES, "test": replace(PICTURES, y=PICTURES.y[:2])},
            "test: y has 2 labels of 3 ex",
        ),
        ("image", {"train": replace(PICTURES, y=PICTURES.y + 1)}, "train: y has labels from 1 to 2; expected 0 to 1"),
        ("image", {"train": replace(PICTURES, y=PICTURES.y / 2)}, r"train: y is float64 \(3,\); expected integers"),
        ("image", {"train": replace(PICTURES, y=["cat"] * 3)}, "train: y is list; expected integers"),
        ("audio", {"train": replace(SOUND, x=SOUND.x / 9)}, r"train: x is float64 \(9,\); expected int16"),
        ("audio", {"train": replace(SOUND, columns={})}, "expected int16 .* in the column `offsets`"),
        ("audio", {"train": replace(SOUND, columns={"offsets": np.array([0, 4, 8])})}, "expected int16"),
        ("audio", {"train": replace(SOUND, columns={"offsets": np.array([0, 9, 9])})}, "expected int16"),
    ],
)
def test_what_else_is_returned_is_refused_in_one_line(modality: str, splits: Any, told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        check_returned("mine", modality, 2, splits)
    assert str(caught.value).startswith("mine: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"licence": None}, "licence is NoneType; expected a text"),
        ({"classes": "ab"}, "classes = 'ab'; expected a tuple of texts"),
        ({"classes": (0, 1)}, "classes = (0, 1); expected a tuple of texts"),
        ({"classes": ("a", "b", "a")}, "classes names 'a' twice"),
        ({"read": {}}, "read is dict; expected a function of (raw, params)"),
    ],
)
def test_an_adapter_that_says_something_else_is_one_line(said: Any, told: str) -> None:
    with pytest.raises(UserError, match=f"^digits: {re.escape(told)}$"):
        check_adapter(replace(adapter("digits"), **said))


def test_prepare_stores_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params.yaml").write_text("extends: contrastbench\n", encoding="utf-8")
    grid = Grid("default", tmp_path)
    scaled = replace(PICTURES, x=PICTURES.x / 255)
    monkeypatch.setattr(
        stage, "adapter", lambda name: replace(adapter(name), read=lambda *_: {"train": scaled, "test": scaled})
    )
    with pytest.raises(UserError, match="digits: train: x is float64"):
        stage.prepare(grid, Job("", "digits"), Runtime())
    monkeypatch.setattr(stage, "adapter", lambda name: replace(adapter(name), licence=1))
    with pytest.raises(UserError, match="digits: licence is int"):
        stage.prepare(grid, Job("", "digits"), Runtime())
    assert not grid.layout.prepared("digits").exists()
