"""Damaged data are refused by every command that judges on them, with the command that makes them again."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY
from own_files import play_sounds, project
from typer.testing import CliRunner

from contrastbench.cli import app
from contrastbench.datasets import adapter
from contrastbench.datasets.base import Split
from contrastbench.datasets.store import write_prepared
from contrastbench.errors import UserError
from contrastbench.params.root import load
from contrastbench.pipeline.data_check import check_data, data_folders, verify_data
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.resolved import PARAMS_VARIABLE


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


def test_data_that_a_command_made_are_refused_once_they_are_not_what_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(PARAMS_VARIABLE, raising=False)
    play_sounds(tmp_path / "raw", 12, who="ann_")
    sounds = {"kind": "sound-folder", "path": "raw", "split": {"by": "fraction", "test": 0.2}}
    track = {"datasets": ["mine"], "few_shot": None, "low_shot": None, "front_end": {"frames": 64}}
    steps = {step: {"training": {"batch_size": 8}} for step in ("head_step", "encoder_step")}
    track |= {"pretraining": {"training": {"batch_size": 8}}, "tuning": steps}
    preset: dict = {"tracks": ["uamix"], "datasets": {"mine": sounds}, "uamix": track}
    preparing, drawing = ("prepare", "mine"), ("spectrograms", "uamix", "mine")

    def make(*command: str) -> None:
        answer = CliRunner().invoke(app, [*command, "--preset", "mine"])
        assert answer.exit_code == 0, answer.exception

    def refused(*command: str) -> None:
        remedy = f"run `contrastbench {' '.join(command)} --preset mine`"
        with pytest.raises(UserError, match=f"made by hand, of other files, parameters or code; {remedy}"):
            check_data(project(tmp_path, preset))

    project(tmp_path, preset)
    make(*preparing)
    make(*drawing)
    check_data(project(tmp_path, preset))
    track["front_end"]["frames"] = 32
    refused(*drawing)
    make(*drawing)
    check_data(project(tmp_path, preset))
    play_sounds(tmp_path / "raw", 1, first=40, who="bob_")
    refused(*preparing)
    make(*preparing)
    check_data(project(tmp_path, preset))
    sounds["stereo"] = "refuse"
    refused(*preparing)
    with monkeypatch.context() as run:
        run.setenv(PARAMS_VARIABLE, "runs/another/params/of-its-jobs.json")
        make(*preparing)  # Snakemake knows what its job was given
    check_data(project(tmp_path, preset))
    load(root=REPOSITORY)  # what was declared is forgotten
