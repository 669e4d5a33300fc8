"""Data sets of the user's own: declared by parameters, split, read, and refused in one line."""

import io
import os
import re
import shutil
import sys
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import yaml
from own_files import PETS, draw_graphs, draw_pictures, picture, play_sounds, project
from PIL import Image

from contrastbench.datasets.pictures import read_picture
from contrastbench.datasets.sound_files import decode
from contrastbench.datasets.store import Prepared, open_prepared
from contrastbench.datasets.tu import read_tu
from contrastbench.errors import UserError
from contrastbench.jobs.runtime import Runtime
from contrastbench.params.root import load
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.stages.prepare import prepare

FRACTION = {"by": "fraction", "test": 0.2}
FOLDERS = {"by": "folders"}


def declaration(kind: str = "image-folder", split: dict = FRACTION, **more) -> dict:
    return {"kind": kind, "path": "raw", "split": split} | ({"size": 16} if kind == "image-folder" else {}) | more


def own(folder: Path, declared: dict, **sections) -> tuple[Prepared, list[str]]:
    """The data ``mine``, prepared in ``folder``, and what is told; no track trains on them."""
    grid = project(folder, {"tracks": ["unremix"], "datasets": {"mine": declared}, **sections})
    told: list[str] = []
    prepare(grid, Job("", "mine"), Runtime(tell=told.append))
    return open_prepared(folder / "data/prepared/mine"), told


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    load(root=Path(__file__).resolve().parent.parent)  # whatever a test has declared is forgotten


def names_in(data: Prepared, split: str, raw: Path) -> set[str]:
    """The files that a split was read from, found by their pixels."""
    of = {read_picture(path, 16, path).tobytes(): str(path.relative_to(raw)) for path in raw.rglob("*.png")}
    return {of[x.tobytes()] for x in np.asarray(data.x(split))}


# Pictures


def test_a_fraction_of_each_class_is_the_test_split_for_ever(here):
    raw = draw_pictures(here / "raw")
    data, told = own(here, declaration())
    assert data.meta.classes == sorted(PETS) and data.meta.modality == "image"
    counts = {split: np.bincount(data.y(split)).tolist() for split in ("train", "validation", "test")}
    assert counts == {"train": [14, 14, 14], "validation": [2, 2, 2], "test": [4, 4, 4]}
    test = names_in(data, "test", raw)
    names = [[f"{name}/{number:02}.png" for number in range(20)] for name in PETS]
    assert test == {name for of in names for name in sorted(of, key=lambda name: sha256(name.encode()).hexdigest())[:4]}
    assert data.meta.hash in told[-1] and "sha256" in data.meta.split_rule
    draw_pictures(raw, 1, {"cat": 0}, first=99)  # one more leaves the others where they are, but for one at the edge
    again, _ = own(here, declaration())
    assert len(test - names_in(again, "test", raw)) <= 1


def test_examples_have_their_labels_and_are_the_pictures(here):
    raw = draw_pictures(here / "raw", 5)
    data, _ = own(here, declaration(channels=1))
    for split in data.meta.splits:
        assert data.x(split).shape[1:] == (16, 16, 1)
        for x, y in zip(data.x(split), data.y(split), strict=True):
            files = (raw / data.meta.classes[y]).iterdir()
            assert any(np.array_equal(x, read_picture(path, 16, path, 1)) for path in files)


def test_given_folders_are_the_splits_and_val_alone_is_the_test(here):
    for split, first in (("train", 0), ("val", 20)):
        draw_pictures(here / "raw" / split, 5, first=first)
    (here / "raw/notes").mkdir()
    data, told = own(here, declaration(split=FOLDERS))
    assert names_in(data, "test", here / "raw") == {f"val/{name}/{n}.png" for name in PETS for n in range(20, 25)}
    assert data.meta.splits["validation"].count == 3 and "test: the folder val" in data.meta.split_rule
    assert "1 files left out" in told[-1] and "notes: neither train" in data.meta.skipped["train"][0]
    draw_pictures(here / "raw/test", 2, first=30)
    data, _ = own(here, declaration(split=FOLDERS))
    assert [data.meta.splits[split].count for split in ("train", "validation", "test")] == [15, 15, 6]


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_table_says_splits_labels_and_groups(here, mark):
    (here / "raw").mkdir()
    for number in range(12):
        Image.fromarray(picture(number)).save(here / f"raw/{number:02}.png")
    lines = [f"{n:02}.png,{'train' if n < 8 else 'test'},{'ab'[n % 2]},g{n // 2}" for n in range(11)]
    text = "\r\n".join(["\ufefffile, split,label,group", *lines]).replace(",", mark)
    (here / "raw/splits.csv").write_bytes(text.encode())
    data, told = own(here, declaration(split={"by": "csv", "file": "splits.csv"}))
    assert names_in(data, "test", here / "raw") == {"08.png", "09.png", "10.png"}
    assert data.y("test").tolist() == [0, 1, 0] and data.column("test", "group").tolist() == [4, 4, 5]
    assert "11.png: not in splits.csv" in data.meta.skipped["train"][0] and "1 files left out" in told[-1]
    assert not {*data.column("train", "group").tolist()} & {*data.column("validation", "group").tolist()}


def test_groups_are_never_parted(here):
    for number in range(48):
        name = ("ann", "bob", "cem", "dan", "eve", "fay")[number // 8]
        folder = here / "raw" / ("walk" if number % 2 else "run") / "deep"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(number)).save(folder / f"{name}_{number}.png")
    data, _ = own(here, declaration(group=r"/([a-z]+)_"))
    groups = [{*data.column(split, "group").tolist()} for split in ("train", "validation", "test")]
    assert sorted(group for split in groups for group in split) == [0, 1, 2, 3, 4, 5] and all(groups)


def test_a_class_may_be_called_as_a_split_is(here):
    for split, who in (("train", "ann"), ("train", "bob"), ("test", "cem")):
        for name in ("train", "test"):
            folder = here / "raw" / split / name
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(len([*(here / "raw").rglob("*.png")]))).save(folder / f"{who}_1.png")
    data, _ = own(here, declaration(split=FOLDERS, group="^([a-z]+)_"))
    assert data.meta.classes == ["test", "train"]
    assert [[*data.column(split, "group")] for split in ("train", "validation", "test")] == [[1, 1], [0, 0], [2, 2]]


def test_copies_stay_in_one_split_or_are_told(here):
    raw = draw_pictures(here / "raw", 8)
    for number in range(12):  # three pictures, thirteen times
        shutil.copy(raw / "cat/00.png", raw / f"cat/copy{number}.png")
    data, told = own(here, declaration())
    shown = read_picture(raw / "cat/00.png", 16, "")
    assert sum(any(np.array_equal(x, shown) for x in data.x(split)) for split in data.meta.splits) == 1
    assert len(told) == 1
    Image.open(raw / "cat/00.png").save(raw / "dog/same.bmp")  # other bytes, the same pixels
    (here / "raw").rename(here / "train")
    (here / "raw").mkdir()
    (here / "train").rename(here / "raw/train")
    draw_pictures(here / "raw/test", 2)
    _, told = own(here, declaration(split=FOLDERS))
    assert re.search(r"examples of test stand in \w+ as well, such as train/cat/\S+ and test/cat/00", " ".join(told))


def test_a_bad_file_is_refused_or_skipped_and_named(here):
    raw = draw_pictures(here / "raw", 6)
    (raw / "cat/broken.png").write_bytes(b"\x89PNG nothing")
    (raw / "cat/notes.txt").write_text("a cat")
    (raw / "dog/gone.png").symlink_to(raw / "nowhere.png")
    with pytest.raises(UserError, match=r"1 of 19 files are bad: .*broken.png.*datasets\.mine\.on_bad_file: skip"):
        own(here, declaration())
    data, told = own(here, declaration(on_bad_file="skip"))
    assert sum(facts.count for facts in data.meta.splits.values()) == 18
    skipped = " ".join(line for lines in data.meta.skipped.values() for line in lines)
    assert all(name in skipped for name in ("broken.png", "notes.txt", "gone.png")) and "3 files left out" in told[-1]


MISTAKES = {
    "missing": (lambda raw: None, {}, "raw: no such folder"),
    "empty": (lambda raw: raw.mkdir(), {}, "raw: an empty folder"),
    "latin": (
        lambda raw: (draw_pictures(raw, 3) / "cat/00.png").rename(raw / "cat" / os.fsdecode(b"k\xe4tzchen.png")),
        {},
        r"cat/k\xe4tzchen.png: a name that is not in UTF-8",
    ),
    "copies": (
        lambda raw: [draw_pictures(raw, 3), *(shutil.copy(raw / "cat/00.png", raw / f"cat/0{n}.png") for n in (1, 2))],
        {},
        "test has no file of the class 'cat', which has 1 to divide: copies and groups",
    ),
    "one class": (lambda raw: draw_pictures(raw, 5, {"cat": 0}), {}, "raw: a folder with one class, 'cat'"),
    "wrapped": (lambda raw: draw_pictures(raw / "pets", 5), {}, "would be the classes of path: "),
    "flat": (lambda raw: draw_pictures(raw, 5, {".": 0}), {}, "5 files, but no folders of classes"),
    "too few": (lambda raw: (draw_pictures(raw, 5), draw_pictures(raw, 2, {"ant": 0})), {}, "class 'ant' has 2 files"),
    "splits": (lambda raw: [draw_pictures(raw / s, 5) for s in ("train", "test")], {}, "`split: {by: folders}`"),
    "splits, otherwise named": (
        lambda raw: [draw_pictures(raw / name, 5) for name in ("seg_Test", "seg_train", "val2017")],
        {},
        "folders are seg_Test and seg_train and val2017; name them train and test, and `split: {by: folders}`",
    ),
    "no test": (lambda raw: draw_pictures(raw / "train", 5), {"split": FOLDERS}, "no folder 'test'"),
    "a class is not tested": (
        lambda raw: (draw_pictures(raw / "train", 5), draw_pictures(raw / "test", 5, {"cat": 0, "dog": 2}, 50)),
        {"split": FOLDERS},
        "test has no file of the class 'fish'",
    ),
    "groups in two splits": (
        lambda raw: (draw_pictures(raw / "train", 5), draw_pictures(raw / "test", 6)),
        {"split": FOLDERS, "group": r"^\d+"},
        "train and test share 5 groups, which belong into one split as a whole; the first is '00'",
    ),
    "one group": (
        lambda raw: (draw_pictures(raw / "train", 5), draw_pictures(raw / "test", 5, first=50)),
        {"split": FOLDERS, "group": r"^\d"},
        "validation has no file: train has one group of each class",
    ),
    "group": (lambda raw: draw_pictures(raw, 5), {"group": "^([a-z]+)_"}, "finds nothing in '00.png'"),
    "no table": (lambda raw: draw_pictures(raw, 5), {"split": {"by": "csv", "file": "s.csv"}}, "s.csv: cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_what_cannot_be_data_is_one_line(here, case):
    make, changes, message = MISTAKES[case]
    make(Path("raw"))
    with pytest.raises(UserError) as error:
        own(here, declaration(**changes))
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (here / "data/prepared/mine").exists()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["name,split", "a,train"], "no column 'file'"),
        (["file,split", "cat/00.png,later"], "line 2: split 'later'"),
        (["file,split", "00.png,train"], "line 2: no label"),
        (["file,split", "cat/00.png,train", "cat/00.png,test"], "cat/00.png stands in it twice"),
    ],
)
def test_a_table_that_says_nothing_is_one_line(here, lines, message):
    draw_pictures(here / "raw", 3)
    (here / "raw/s.csv").write_text("\n".join(lines))
    with pytest.raises(UserError, match=message):
        own(here, declaration(split={"by": "csv", "file": "s.csv"}))


# Other kinds


def test_sounds_are_mono_at_16_khz(here):
    for split, count, first in (("train", 4, 0), ("test", 2, 4)):
        play_sounds(here / "raw" / split, count, first=first)
    (here / "raw/train/tit/bad.wav").write_bytes(b"RIFF")
    data, told = own(here, declaration("sound-folder", FOLDERS, on_bad_file="skip"))
    assert data.meta.modality == "audio" and data.meta.classes == ["crow", "tit"]
    assert [data.meta.splits[split].count for split in ("train", "validation", "test")] == [6, 2, 4]
    offsets, wanted = data.column("test", "offsets"), decode((here / "raw/test/tit/04.wav").read_bytes())
    np.testing.assert_array_equal(data.x("test")[offsets[2] : offsets[3]], wanted)
    assert len(wanted) == 24000 and data.y("test").tolist() == [0, 0, 1, 1] and "1 files left out" in told[-1]
    soundfile.write(here / "raw/train/tit/stereo.wav", np.random.default_rng(0).normal(0, 0.1, (16000, 2)), 16000)
    with pytest.raises(UserError, match=r"2 of 14 files are bad.*2 channels"):
        own(here, declaration("sound-folder", FOLDERS, stereo="refuse"))


def test_arrays_are_taken_as_they_are_or_scaled(here):
    x, y = np.stack([picture(n, side=12)[:, :12] for n in range(40)]), np.array(["b", "a"] * 20)
    x[8] = x[0]  # a copy, which goes where the first goes
    np.savez(here / "raw", x=x, y=y, group=np.arange(40) // 2)
    data, told = own(here, declaration("npz", path="raw.npz", channels=3))
    assert data.meta.classes == ["a", "b"] and len(told) == 1
    everything = {x.tobytes() for split in data.meta.splits for x in data.x(split)}
    assert everything == {image.tobytes() for image in x}
    position = {image.tobytes(): n for n, image in enumerate(x)}
    for split in data.meta.splits:
        at = [position[image.tobytes()] for image in data.x(split)]
        assert [data.meta.classes[label] for label in data.y(split)] == y[at].tolist()
    groups = [{*data.column(split, "group").tolist()} for split in ("train", "validation", "test")]
    assert not (groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2])
    np.savez(here / "raw", x_train=x[:30, ..., 0] / 255, y_train=y[:30], x_test=x[30:, ..., 0] / 255, y_test=y[30:])
    data, _ = own(here, declaration("npz", {"by": "given"}, path="raw.npz", channels=1))
    np.testing.assert_array_equal(data.x("test"), x[30:, ..., :1])
    parts = {"train": slice(10), "valid": slice(10, 20), "test": slice(20, 40)}
    arrays = {f"{name}_{split}": array[at] for split, at in parts.items() for name, array in (("x", x), ("y", y))}
    np.savez(here / "raw", **{name: a.astype("S") if name[0] == "y" else a for name, a in arrays.items()})
    data, _ = own(here, declaration("npz", {"by": "given"}, path="raw.npz", channels=3))
    np.testing.assert_array_equal(data.x("validation"), x[10:20])
    assert data.meta.classes == ["a", "b"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros(3)}, "no array x; there are images"),
        ({"x": np.zeros((9, 8, 9, 3), np.uint8)}, r"x is \(9, 8, 9, 3\); it must be"),
        ({"x": np.zeros((9, 3, 8, 8), np.uint8)}, "x is"),
        ({"x": np.zeros((9, 8, 8, 1), np.uint8)}, "x has 1 channels, declared are 3"),
        ({"x": np.full((9, 8, 8, 3), 2.0)}, "x is float64, 2 to 2; it must be uint8, or"),
        ({"x": np.zeros((9, 8, 8, 3), np.int32)}, "x is int32"),
        ({"y": np.zeros(8)}, r"y is float64 \(8,\); it must be \(9,\)"),
        ({"y": np.zeros(9)}, r"it must be \(9,\), whole numbers or texts"),
        ({"y": np.zeros(9, np.int64)}, "one class, 0"),
        ({"y": np.array([None] * 9)}, "not a readable file of np.savez"),
    ],
)
def test_arrays_that_are_no_images_are_one_line(here, arrays, message):
    plain = {"x": np.zeros((9, 8, 8, 3), np.uint8), "y": np.arange(9) % 2}
    np.savez(here / "raw", **({} if "images" in arrays else plain) | arrays)
    with pytest.raises(UserError, match=message):
        own(here, declaration("npz", path="raw.npz", channels=3))


def test_another_file_that_is_called_npz_is_one_line(here):
    with (here / "raw.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(UserError, match=r"raw\.npz: no file of np\.savez, or cut off"):
        own(here, declaration("npz", path="raw.npz", channels=3))


def test_graphs_of_a_folder_or_a_file_have_the_classes_of_their_labels(here):
    draw_graphs(here / "raw")
    data, _ = own(here, {"kind": "graph-folder", "path": "raw"})
    (wanted,) = read_tu(here / "raw", ("-1", "1")).values()
    assert data.meta.classes == ["-1", "1"] and data.meta.splits.keys() == {"train"}
    np.testing.assert_array_equal(data.column("train", "edges"), wanted.columns["edges"])
    edges = {name: data.column("train", name) for name in ("offsets", "edges", "edge_offsets")}
    np.savez(here / "raw.npz", y=np.asarray(data.y("train")), **edges)
    again, _ = own(here, {"kind": "npz", "path": "raw.npz", "modality": "graph"})
    np.testing.assert_array_equal(again.column("train", "edges"), wanted.columns["edges"])
    assert again.meta.classes == ["0", "1"]


class Table:
    """The part of Hugging Face's `Dataset` that is used, of a list of rows."""

    def __init__(self, features: dict, rows: list[dict]) -> None:
        self.features, self.rows = features, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key):
        return [row[key] for row in self.rows] if isinstance(key, str) else self.rows[key]

    def cast_column(self, name, feature) -> "Table":
        assert feature.decode is False, "bytes are decoded by our readers"
        return self


def fake_hub(monkeypatch, tables: dict[str, Table]) -> None:
    def load_dataset(path, name, revision):
        assert (path, name, revision) == ("raw", None, "v1")
        return tables

    kinds = {kind: type(kind, (SimpleNamespace,), {}) for kind in ("Image", "Audio", "ClassLabel", "Value")}
    module = SimpleNamespace(
        load_dataset=load_dataset,
        concatenate_datasets=lambda all_: Table(all_[0].features, [row for one in all_ for row in one.rows]),
        **kinds,
    )
    monkeypatch.setitem(sys.modules, "datasets", module)


def test_a_data_set_of_the_hub(here, monkeypatch):
    def row(number: int) -> dict:
        content = io.BytesIO()
        Image.fromarray(picture(number)).save(content, "png")
        return {"image": {"bytes": content.getvalue(), "path": None}, "label": number % 2}

    fake_hub(monkeypatch, {})
    import datasets

    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["z", "a"])}
    tables = {
        "train": Table(features, [row(n) for n in range(12)]),
        "test": Table(features, [row(n) for n in (50, 51)]),
    }
    fake_hub(monkeypatch, tables)
    tables["train"].rows[3]["image"] = {"bytes": b"none", "path": None}
    declared = declaration("huggingface", {"by": "given"}, modality="image", size=16, channels=3, revision="v1")
    with pytest.raises(UserError, match=r"1 of 14 files are bad: train\[3\]"):
        own(here, declared)
    data, _ = own(here, declared | {"on_bad_file": "skip"})
    assert data.meta.classes == ["a", "z"] and data.y("test").tolist() == [1, 0]
    assert [data.meta.splits[split].count for split in ("train", "validation", "test")] == [9, 2, 2]
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"needs the package datasets: pip install 'contrastbench\[huggingface\]'"):
        own(here, declared)


# Parameters


def preset(**declared) -> dict:
    return {"tracks": ["unremix"], "datasets": {"mine": declared}, "unremix": {"datasets": ["mine"]}}


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ({"mine": {"kind": "folder", "path": "x"}}, "datasets.mine.kind = \"folder\": input should be 'image-folder'"),
        ({"mine": {"kind": "image-folder", "path": "x", "split": FOLDERS}}, "datasets.mine.size: this key is required"),
        ({"mine": declaration(sise=32)}, "datasets.mine.sise: unknown key; did you mean 'size'?"),
        ({"mine": declaration("sound-folder", size=8)}, "datasets.mine.size: unknown key; known keys: group, kind"),
        ({"mine": declaration(channels=2)}, "datasets.mine.channels = 2: must be 1 (grey) or 3 (colour)"),
        ({"mine": declaration(group="(")}, 'datasets.mine.group = "(": no regular expression'),
        ({"mine": declaration(split={"by": "fraction"})}, "datasets.mine.split: `test` goes with `by: fraction`"),
        (
            {"mine": declaration(split={"by": "folders", "file": "x"})},
            "datasets.mine.split: `file` goes with `by: csv`",
        ),
        ({"mine": declaration("npz", channels=None)}, "datasets.mine.channels: required for images"),
        ({"digits": declaration()}, "datasets.digits"),
        ({"Mine": declaration()}, "datasets.Mine"),
        ({"a-to-b": declaration()}, "datasets.a-to-b"),
        ({"mine": []}, "datasets.mine"),
        ([], "datasets"),
    ],
)
def test_a_mistake_in_a_declaration_is_one_line_at_its_place(here, datasets, message):
    with pytest.raises(UserError) as error:
        project(here, {"datasets": datasets}).params  # noqa: B018
    assert str(error.value).startswith(f"{here / 'presets/mine.yaml'}: ") and message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_track_takes_declared_data_of_its_modality_alone(here):
    with pytest.raises(UserError, match="'mine' holds audio data, not image data"):
        project(here, preset(**declaration("sound-folder"))).params  # noqa: B018


def test_a_declaration_is_known_to_its_own_parameters_alone(here):
    grid = project(here, preset(**declaration()))
    assert grid.params.unremix.datasets == ("mine",)
    other = project(here, {"unremix": {"datasets": ["mine"]}}, "other")
    with pytest.raises(UserError, match="unknown data set 'mine'"):
        other.params  # noqa: B018
    assert grid.reader("mine") == "contrastbench.datasets.image_folder", "grids that were read stay as they are"


def test_two_presets_may_not_declare_one_name_differently(here):
    from contrastbench.pipeline.data_check import check_data

    grid = project(here, preset(**declaration()))
    project(here, preset(**declaration()), "twin")
    check_data(grid)
    project(here, preset(**declaration(size=32)), "twin")
    with pytest.raises(UserError, match="presets mine and twin declare the data set 'mine' differently"):
        check_data(grid)


def test_prepared_data_are_stale_when_files_or_their_declaration_change(here):
    raw = draw_pictures(here / "raw", 6)
    small = preset(**declaration()) | {"unremix": {"datasets": ["mine"], "training": {"batch_size": 8}}}
    small["unremix"]["probe"] = {"low_label_shots": [2]}

    def state() -> str:
        return Grid("mine", here).prepare_state("mine")

    project(here, small)
    before = state()
    assert state() == before
    shutil.copy(raw / "cat/00.png", raw / "cat/new.png")
    after = state()
    assert after != before
    Image.fromarray(picture(77)).save(raw / "cat/new.png")
    assert state() != after, "of the same name"
    prepare(Grid("mine", here), Job("", "mine"), Runtime())
    there = state()
    shutil.rmtree(raw)
    assert state() == there, "what was prepared may lose its files"
    small["datasets"]["mine"]["size"] = 32
    project(here, small)
    assert state() != there


def test_sections_fit_own_pictures_where_the_preset_says_nothing(here):
    content = preset(**declaration(size=96)) | {"swaro": {"datasets": ["mine"], "augment": {"hue": 0.25}}}
    params = project(here, content).params
    augment = params.unremix.augment
    assert (augment.flip_probability, augment.saturation, augment.grayscale_probability) == (0.5, 0.4, 0.2)
    assert augment.blur_kernel == 9 and augment.blur_probability == 0.5
    assert params.swaro.augment.hue == 0.25 and params.swaro.augment.saturation == 0.4
    assert params.unremix.transfer == () and params.unremix.corruptions.images is None
    assert [*params.swaro.robustness.budgets] == ["mine"] and params.swaro.robustness.budgets["mine"].main == 8 / 255
    assert params.swaro.settings.rocl.eps == 8 / 255 and params.swaro.settings.rocl.step_size == 4 / 255
    assert params.swaro.variants["swaro-1-step"].settings["step_size"] == "8/255" and params.swaro.search is None
    assert [*params.uamix.few_shot.datasets] == ["instruments"], "the other tracks stay as they are"


def test_grey_pictures_keep_the_default_augmentation(here):
    params = project(here, preset(**declaration(channels=1))).params
    plain = load(root=here).unremix.augment
    assert params.unremix.augment == plain.model_copy(update={"blur_probability": 0.0})


def test_own_sounds_have_few_shot_low_shot_and_attacks(here):
    content = {"tracks": ["uamix"], "datasets": {"mine": declaration("sound-folder", FOLDERS)}}
    params = project(here, content | {"uamix": {"datasets": ["mine"]}}).params.uamix
    assert [params.few_shot.datasets, params.low_shot.datasets, params.audio_attack.datasets] == [
        {"mine": ("mine",)}
    ] * 3
    assert params.few_shot.class_of == {} and params.front_end.segments == 4
    off = {"datasets": ["mine"], "few_shot": None, "low_shot": None}
    params = project(here, content | {"uamix": off}).params.uamix
    assert params.few_shot is None and params.low_shot is None and params.audio_attack is not None


def test_resolved_parameters_are_read_back_as_they_are(here):
    import json

    from contrastbench.params.root import from_content

    content = preset(**declaration(size=96)) | {"swaro": {"datasets": ["mine"], "cost": []}}
    params = project(here, content).params
    assert from_content(json.loads(params.model_dump_json()), "here") == params
    plain = load(root=here)
    assert "datasets" not in plain.model_dump(mode="json")


def test_what_params_yaml_says_itself_stands(here):
    project(here, {})
    content = yaml.safe_load((here / "params.yaml").read_text())
    content["datasets"] = {"mine": declaration()}
    content["swaro"]["datasets"] = ["mine"]
    (here / "params.yaml").write_text(yaml.safe_dump(content))
    params = load(root=here)
    assert params.swaro.augment.flip_probability == 0.0 and params.swaro.settings.rocl.eps == 0.1
    assert {*params.swaro.robustness.budgets} == {"mnist5k", "digits", "mine"}


# Enough data


def test_too_few_examples_are_told_in_one_line_before_anything_is_read(here, monkeypatch):
    draw_pictures(here / "raw", 10)
    monkeypatch.setattr("contrastbench.datasets.image_folder.read_picture", None)
    sections = {
        "unremix": {"datasets": ["mine"], "corruptions": {"images": 100}, "probe": {"low_label_shots": [5, 20]}}
    }
    with pytest.raises(UserError) as error:
        own(here, declaration(), **sections)
    assert str(error.value) == (
        "mine (train 21, validation 3, test 6) is too small for unremix.training.batch_size = 64, at most 21; "
        "unremix.probe.low_label_shots = [5, 20], at most 7, of the smallest class; unremix.corruptions.images = 100, "
        f"at most 6, or null for all; `contrastbench inspect {here / 'raw'}` prints a preset that fits"
    )
    with pytest.raises(UserError, match="too small") as error:
        own(here, declaration(group="(.*)"), **sections)
    assert "inspect" not in str(error.value)  # it does not know the groups


def test_too_few_clips_and_too_short_ones_are_told(here):
    for split, count, first in (("train", 6, 0), ("test", 3, 6)):
        play_sounds(here / "raw" / split, count, first=first, seconds=0.5)
    few = {"way": 2, "shots": [1]}
    sections = {"tracks": ["uamix"], "uamix": {"datasets": ["mine"], "few_shot": few, "low_shot": {"shots": [1, 9]}}}
    with pytest.raises(UserError, match=r"uamix\.low_shot\.shots = \[1, 9\], at most 5"):
        own(here, declaration("sound-folder", FOLDERS), **sections)
    sections["uamix"]["low_shot"] = {"shots": [1]}
    with pytest.raises(
        UserError, match=r"uamix\.few_shot\.shots = \[1\], none is left beside queries .*few_shot: null"
    ):
        own(here, declaration("sound-folder", FOLDERS, group="^(0[0-5]|0)"), **sections)  # test: one group
    with pytest.raises(UserError) as error:
        own(here, declaration("sound-folder", FOLDERS), **sections)
    for told in ("pretraining.training.batch_size = 32, at most 10", "front_end.frames = 128, no test clip is as long"):
        assert told in str(error.value)


def test_too_few_graphs_are_told(here):
    draw_graphs(here / "raw", 12)
    with pytest.raises(
        UserError, match=r"training\.graphcl\.batch_size = 128, at most 12.*folds\.outer = 10, at most 6"
    ):
        own(here, {"kind": "graph-folder", "path": "raw"}, tracks=["graphs"], graphs={"datasets": ["mine"]})
