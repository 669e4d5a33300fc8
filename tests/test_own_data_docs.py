"""docs/own-data.md does what it says: its presets, on folders as it describes them; what `inspect` prints fits."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import REPOSITORY
from own_files import draw_graphs, draw_pictures, picture, play_sounds
from typer.testing import CliRunner

from contrastbench.cli import app
from contrastbench.datasets.store import open_prepared
from contrastbench.params.root import load
from contrastbench.pipeline.data_check import check_data
from contrastbench.pipeline.grid import Grid

GUIDE = "".join((REPOSITORY / name).read_text(encoding="utf-8") for name in ("docs/own-data.md", "README.md"))
PRESETS = re.findall(r"^`presets/([\w-]+)\.yaml`:\n\n```yaml\n(.*?)^```$", GUIDE, re.M | re.S)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """A project folder with the data that the guide speaks of."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "presets").mkdir()
    (folder / "params.yaml").write_bytes((REPOSITORY / "params.yaml").read_bytes())
    for name, content in PRESETS:
        (folder / f"presets/{name}.yaml").write_text(content, encoding="utf-8")
    draw_pictures(folder / "pets")
    for first, who in ((0, "ann_"), (10, "bob_"), (20, "eve_")):
        play_sounds(folder / "birds/train", 10, first=first, who=who)
    for first, who in ((30, "cem_"), (40, "dan_")):
        play_sounds(folder / "birds/test", 2, first=first, who=who)
    x = np.stack([picture(number, side=12)[:, :12] for number in range(60)])
    np.savez(folder / "arrays.npz", x=x, y=np.arange(60) % 2)
    draw_graphs(folder / "machines")
    yield folder
    load(root=REPOSITORY)  # what the presets have declared is forgotten


def command(*arguments: str) -> str:
    answer = CliRunner().invoke(app, [*arguments])
    assert answer.exit_code == 0, f"{arguments}: {answer.output}\n{answer.exception!r}"
    return answer.output


@pytest.mark.parametrize("name", [name for name, _ in PRESETS])
def test_a_preset_of_the_guide_prepares_its_data(name, folders, monkeypatch):
    monkeypatch.chdir(folders)
    grid = Grid(name)
    (dataset,) = grid.params.datasets
    assert "data hash" in command("prepare", dataset)  # the preset is found
    check_data(grid)
    assert open_prepared(grid.layout.prepared(dataset)).meta.name == dataset


def test_the_guide_has_a_preset_of_every_kind():
    kinds = {data["kind"] for _, text in PRESETS for data in yaml.safe_load(text)["datasets"].values()}
    assert kinds == {"image-folder", "sound-folder", "npz", "graph-folder"}
    (beans,) = [
        block for block in re.findall(r"^```yaml\n(.*?)^```$", GUIDE, re.M | re.S) if "kind: huggingface" in block
    ]
    assert yaml.safe_load(beans)["datasets"]["my-beans"]["kind"] == "huggingface"


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("pets", ["60 pictures", "cat 20, dog 20, fish 20; train 42, validation 6, test 12", "30 x 24", "in colour"]),
        ("birds", ["68 sounds", "crow 34, tit 34", "WAV PCM_16", "8000 Hz x 1", "1.50 to 1.50 s", "broken: 0 of"]),
        ("arrays.npz", ["x uint8 (60, 12, 12, 3)", "0 30, 1 30"]),
        ("machines", ["-1 10, 1 10; train 20", "3 to 3 nodes", "up to 3; 2 to 3 edges; nodes have no labels"]),
    ],
)
def test_inspect_prints_a_preset_that_fits(path, seen, folders, monkeypatch):
    monkeypatch.chdir(folders)
    text = command("inspect", path)
    assert [part for part in seen if part not in text] == []
    Path("presets/seen.yaml").write_text(text, encoding="utf-8")
    grid = Grid("seen")
    (dataset,) = grid.params.datasets
    command("prepare", dataset, "--preset", "seen")
    check_data(grid)
    Path("presets/seen.yaml").unlink()


def test_inspect_of_arrays_by_other_names_says_which_are_wanted(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((9, 8, 8), np.uint8))
    result = CliRunner().invoke(app, ["inspect", str(tmp_path / "a.npz")])
    assert "no array x; there are images; wanted: x (N, H, W)" in str(result.exception)


def test_inspect_names_what_is_wrong_and_writes_the_preset(folders, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for split in ("train", "test"):
        draw_pictures(tmp_path / "raw" / split, 4, first=0 if split == "train" else 3)
    (tmp_path / "raw/train/cat/bad.jpg").write_bytes(b"\xff\xd8 nothing")
    (tmp_path / "raw/train/cat/notes.md").write_text("cats")
    text = command("inspect", "raw", "--name", "mine", "--preset", "first")
    for told in ("broken: 1 of", "bad.jpg", "left out: 1", "notes.md", "LEAK: 3", "train/cat/03.png (train)"):
        assert told in text
    assert "snakemake --cores all --config preset=first" in text
    declared = yaml.safe_load(Path("presets/first.yaml").read_text())["datasets"]["mine"]
    assert declared["split"] == {"by": "folders"} and declared["on_bad_file"] == "skip"
    again = CliRunner().invoke(app, ["inspect", "raw", "--preset", "first"])
    assert "is there already" in str(again.exception)


@pytest.mark.parametrize(("name", "mark"), [("splits.csv", ","), ("Splits.CSV", ";"), ("Splits.TSV", "\t")])
def test_inspect_goes_by_a_table_that_the_reader_takes(name, mark, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw_pictures(tmp_path / "raw/all", 12, {"cat": 0, "dog": 1})
    files = sorted(path.relative_to("raw") for path in Path("raw").rglob("*.png"))
    lines = [["\ufefffile", '"split"', "label"]]
    lines += [
        [str(file).replace("/", "\\"), "test" if at % 3 else "train", file.parts[1]] for at, file in enumerate(files)
    ]
    (tmp_path / "raw" / name).write_text("\n".join(mark.join(line) for line in lines), encoding="utf-8")
    (tmp_path / "raw/a.csv").mkdir()
    text = command("inspect", "raw")
    assert f"split: {{by: csv, file: {name}}}" in text and "cat 12, dog 12" in text and "broken: 0" in text


def test_inspect_follows_links_to_folders_of_splits_and_classes_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw_pictures(tmp_path / "elsewhere", 6)
    for split in ("train", "test"):
        (tmp_path / "raw" / split).mkdir(parents=True)
    for folder in sorted(Path("elsewhere").iterdir()):
        (tmp_path / "raw/train" / folder.name).symlink_to(folder.absolute())
    (tmp_path / "raw/test").rmdir()
    (tmp_path / "raw/test").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/cat/again").symlink_to(tmp_path / "elsewhere")
    text = command("inspect", "raw")
    assert "36 pictures" in text and "cat/again: a link to a folder, which is not followed" in text


def test_inspect_says_how_names_begin(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw_pictures(tmp_path / "raw", 12)
    assert "names begin" not in command("inspect", "raw")
    for path in [*(tmp_path / "raw").rglob("*.png")]:
        path.rename(path.with_name(f"{path.parent.name}_{path.name}"))
    assert "names begin" not in command("inspect", "raw")  # the class's own name
    for path in [*(tmp_path / "raw").rglob("*.png")]:
        path.rename(path.with_name(f"{('ann', 'bob', 'cem')[int(path.stem[-2:]) % 3]}-{path.name}"))
    text = command("inspect", "raw", "--preset", "first")
    assert re.search(r"names begin with 3 words \(\w{3}- 12, \w{3}- 12, ...\), \d of them in several splits", text)
    assert "`group: '^([^-]+)-'`" in text
    assert "group" not in yaml.safe_load(Path("presets/first.yaml").read_text())["datasets"]["raw"]


def test_inspect_names_arrays_and_tables_that_are_not_read(folders, tmp_path):
    arrays = {"x": np.zeros((9, 8, 8), np.uint8) + np.arange(9, dtype=np.uint8)[:, None, None], "y": np.arange(9) % 2}
    np.savez(tmp_path / "a.npz", **arrays, groups=np.arange(9))
    (tmp_path / "a.npz").rename(tmp_path / "A.NPZ")
    assert "; not read: groups\n" in command("inspect", str(tmp_path / "A.NPZ"))
    shutil.copytree(folders / "machines", tmp_path / "machines")
    (tmp_path / "machines/machines_node_attributes.txt").write_text("0.5\n" * 60)
    assert "not read: machines_node_attributes.txt\n" in command("inspect", str(tmp_path / "machines"))


@pytest.mark.parametrize("path", ["nowhere", "empty", "one", "text.txt", "phone"])
def test_inspect_refuses_in_one_line(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("text.txt").write_text("x")
    draw_pictures(Path("one"), 4, {"cat": 0})
    Path("phone/a").mkdir(parents=True)
    Path("phone/a/memo.m4a").write_bytes(b"ftypM4A")
    answer = CliRunner().invoke(app, ["inspect", path])
    told = {"nowhere": "no such file", "empty": "an empty folder", "one": "one class", "text.txt": "no folder"}
    told["phone"] = "no picture, sound or graph in it that can be read; suffixes: .m4a 1"
    assert type(answer.exception).__name__ == "UserError" and told[path] in str(answer.exception)
