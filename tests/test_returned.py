"""What an adapter's ``read`` must not return: each is one line, and nothing is stored."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contrastbench.datasets import adapter
from contrastbench.datasets.base import Split
from contrastbench.datasets.returned import check_returned
from contrastbench.errors import UserError
from contrastbench.jobs.runtime import Runtime
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.stages import prepare as stage

PICTURES = Split(np.zeros((3, 4, 4, 1), np.uint8), np.array([0, 1, 0]))
SOUND = Split(np.zeros(9, np.int16), np.array([0, 1]), {"offsets": np.array([0, 4, 9])})


def test_what_the_docs_say_is_taken() -> None:
    unlabelled = replace(PICTURES, y=None)
    check_returned("mine", "image", 2, {"train": PICTURES, "test": PICTURES, "unlabelled": unlabelled})
    check_returned("mine", "audio", 2, {"train": SOUND, "test": SOUND})


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


def test_prepare_stores_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params.yaml").write_text("extends: contrastbench\n", encoding="utf-8")
    grid = Grid("default", tmp_path)
    scaled = replace(PICTURES, x=PICTURES.x / 255)
    monkeypatch.setattr(stage, "adapter", lambda name: replace(adapter(name), read=lambda *_: {"train": scaled}))
    with pytest.raises(UserError, match="digits: train: x is float64"):
        stage.prepare(grid, Job("", "digits"), Runtime())
    assert not grid.layout.prepared("digits").exists()
