"""Damaged data are refused by every command that judges on them, with the command that makes them again."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from contrastbench.cli import app
from contrastbench.datasets import adapter
from contrastbench.datasets.base import Split
from contrastbench.datasets.store import write_prepared
from contrastbench.errors import UserError
from contrastbench.pipeline.data_check import check_data, data_folders, verify_data
from contrastbench.pipeline.grid import Grid


@pytest.fixture
def grid(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Grid:
    """The preset ``smoke`` with arrays of zeros for all its data."""
    shutil.copy(repository / "params.yaml", tmp_path)
    shutil.copytree(repository / "presets", tmp_path / "presets")
    monkeypatch.chdir(tmp_path)
    grid = Grid("smoke")
    zeros = Split(np.zeros((100, 8, 8, 1), np.uint8), np.arange(100) % 10)
    for folder in (*map(grid.layout.prepared, grid.datasets()), grid.layout.spectrograms("uamix", "instruments")):
        write_prepared(folder, adapter(folder.name), {"train": zeros, "test": zeros}, "")
    return grid


def change(path: Path) -> None:
    """Another last byte: the shape stays right."""
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")


def test_whole_data_pass(grid: Grid) -> None:
    assert [str(folder) for folder in data_folders(grid)] == [
        "data/prepared/digits", "data/prepared/instruments", "data/prepared/mutag",
        "data/spectrograms/smoke/uamix/instruments",
    ]  # fmt: skip
    check_data(grid)
    verify_data(data_folders(grid))


def test_data_that_are_not_made_yet_are_nothing_to_check(grid: Grid) -> None:
    shutil.rmtree("data")
    check_data(grid)
    assert data_folders(grid) == []


def test_a_batch_is_not_larger_than_a_set_of_graphs(grid: Grid) -> None:
    for count in (94, 93):
        graphs = Split(np.zeros(count, np.int32), np.arange(count) % 2)
        write_prepared(grid.layout.prepared("mutag"), adapter("mutag"), {"train": graphs}, "")
        if count == 94:
            check_data(grid)
    with pytest.raises(UserError, match=r"^graphs\.batches\.mutag = 94: mutag has 93 graphs; at most 93$"):
        check_data(grid)


def test_the_presence_of_every_array_is_checked_and_the_remedy_names_the_preset(grid: Grid) -> None:
    (grid.layout.spectrograms("uamix", "instruments") / "test_x.npy").unlink()
    remedy = "`contrastbench spectrograms uamix instruments --preset smoke`"
    with pytest.raises(UserError, match=f"missing or corrupt.*{remedy}"):
        check_data(grid)


def test_changed_contents_are_found_where_they_are_asked_for(grid: Grid) -> None:
    change(grid.layout.prepared("digits") / "test_x.npy")
    check_data(grid)
    with pytest.raises(UserError, match=r"digits/test_x.npy: changed since .*; run `contrastbench prepare digits`"):
        verify_data(data_folders(grid))


@pytest.mark.parametrize(
    ("folder", "command"),
    [
        ("data/prepared/digits", "features unremix digits pixels 0 --preset smoke"),
        ("data/prepared/digits", "probe unremix digits pixels 0 --preset smoke"),
        ("data/prepared/digits", "attack swaro digits swaro 0 --preset smoke"),
        ("data/prepared/digits", "transfer-attack swaro digits 0 --preset smoke"),
        ("data/prepared/digits", "transfer-probe unremix mnist5k-to-digits simclr 0"),
        ("data/spectrograms/smoke/uamix/instruments", "few-shot uamix instruments mae 0 --preset smoke"),
        ("data/spectrograms/smoke/uamix/instruments", "low-shot uamix instruments mae 0 --preset smoke"),
        ("data/prepared/instruments", "audio-attack uamix instruments mae 0 --preset smoke"),
    ],
)
def test_every_command_that_judges_looks_at_the_contents(grid: Grid, folder: str, command: str) -> None:
    if "transfer" in command:
        shutil.copytree(grid.layout.prepared("digits"), grid.layout.prepared("mnist5k"))
    change(Path(folder) / "test_x.npy")
    result = CliRunner().invoke(app, command.split())
    assert isinstance(result.exception, UserError) and "test_x.npy: changed since" in str(result.exception)
    assert not Path("results").exists()
