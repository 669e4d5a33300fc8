"""The array store: what is written is what is read, and damage is told in one line."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest

from contrastbench import files
from contrastbench.datasets import store
from contrastbench.datasets.base import Adapter, Split
from contrastbench.datasets.store import carve_validation, open_prepared, verify_prepared, write_prepared
from contrastbench.errors import UserError

ADAPTER = Adapter("toy", "image", ("a", "b"), "CC0", "a test", "a rule", lambda *_: {})


def split(count: int, seed: int = 0) -> Split:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (count, 4, 5, 3)).astype(np.uint8)
    return Split(x, np.arange(count) % 2, {"group": rng.integers(0, 9, count)})


@pytest.fixture
def splits() -> dict[str, Split]:
    return {"train": split(7), "test": split(4, 1), "unlabeled": Split(split(3, 2).x, None)}


@pytest.fixture
def folder(tmp_path: Path, splits) -> Path:
    write_prepared(tmp_path / "toy", ADAPTER, splits, "a rule")
    return tmp_path / "toy"


def test_round_trip(folder, splits):
    data = open_prepared(folder)
    for name, expected in splits.items():
        np.testing.assert_array_equal(data.x(name), expected.x)
        assert data.x(name).dtype == np.uint8 and isinstance(data.x(name), np.memmap)
        if expected.y is None:
            assert data.y(name) is None
        else:
            np.testing.assert_array_equal(data.y(name), expected.y)
            assert data.y(name).dtype == np.int64
            np.testing.assert_array_equal(data.column(name, "group"), expected.columns["group"])
    assert {name: facts.count for name, facts in data.meta.splits.items()} == {"train": 7, "test": 4, "unlabeled": 3}
    assert (data.meta.classes, data.meta.licence, data.meta.split_rule) == (["a", "b"], "CC0", "a rule")
    verify_prepared(data)


def test_arrays_in_any_memory_order_are_stored_alike(tmp_path, monkeypatch):
    """STL-10 is read transposed, and larger arrays are written piece by piece."""
    monkeypatch.setattr(store, "BYTES_AT_ONCE", 3 * split(7).x[0].nbytes)
    plain = split(7)
    turned = Split(np.asfortranarray(plain.x), plain.y, plain.columns)
    first = write_prepared(tmp_path / "plain", ADAPTER, {"train": plain}, "")
    second = write_prepared(tmp_path / "turned", ADAPTER, {"train": turned}, "")
    assert first.hash == second.hash
    np.testing.assert_array_equal(np.load(tmp_path / "turned" / "train_x.npy"), plain.x)


def test_the_hash_is_of_the_contents(tmp_path, splits):
    def hashed(changed: dict[str, Split]) -> str:
        return write_prepared(tmp_path / "x", ADAPTER, changed, "").hash

    before = hashed(splits)
    assert hashed(splits) == before
    x = splits["train"].x.copy()
    x[0, 0, 0, 0] ^= 1
    assert hashed(splits | {"train": Split(x, splits["train"].y, splits["train"].columns)}) != before
    relabelled = Split(splits["train"].x, 1 - splits["train"].y, splits["train"].columns)
    assert hashed(splits | {"train": relabelled}) != before


def test_what_is_not_there_is_named(folder, tmp_path):
    with pytest.raises(UserError, match=r"none/meta.json: no such file; run `contrastbench prepare none`"):
        open_prepared(tmp_path / "none")
    data = open_prepared(folder)
    with pytest.raises(UserError, match="no split 'validation'; there are train, test, unlabeled"):
        data.x("validation")
    with pytest.raises(UserError, match="split 'test' has no column 'fold'; there are x, y, group"):
        data.column("test", "fold")


@pytest.mark.parametrize("content", [b"", b"{", b'{"name": "toy"}', b"\xff\xfe"])
def test_a_corrupt_meta_is_one_line(folder, content):
    (folder / "meta.json").write_bytes(content)
    with pytest.raises(UserError, match=r"meta.json: corrupt; run `contrastbench prepare toy`"):
        open_prepared(folder)


@pytest.mark.parametrize("keep", [0, 50, -1])
def test_a_truncated_array_is_one_line(folder, keep):
    path = folder / "test_x.npy"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"test_x.npy: missing or corrupt") as caught:
        open_prepared(folder)
    assert "\n" not in str(caught.value)


def test_a_missing_array_is_one_line(folder):
    (folder / "train_group.npy").unlink()
    with pytest.raises(UserError, match=r"train_group.npy: missing or corrupt"):
        open_prepared(folder)


def test_an_array_of_another_shape_or_type_is_refused(folder):
    np.save(folder / "test_x.npy", split(5).x)
    with pytest.raises(UserError, match=r"test_x.npy: holds .*5, 4, 5, 3.* meta.json says .*4, 4, 5, 3"):
        open_prepared(folder)
    np.save(folder / "test_x.npy", split(4).x.astype(np.int16))
    with pytest.raises(UserError, match="int16"):
        open_prepared(folder)


def test_a_pickle_is_never_loaded(folder):
    np.save(folder / "test_x.npy", np.array([{"evil": 1}] * 4, dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="missing or corrupt"):
        open_prepared(folder)


def test_changed_bytes_are_found_when_asked_for(folder):
    path = folder / "train_x.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    data = open_prepared(folder)  # the shape still agrees
    with pytest.raises(UserError, match=r"train_x.npy: changed since it was prepared"):
        verify_prepared(data)


def test_no_space_leaves_what_was_there(folder, splits, monkeypatch):
    before = (folder / "meta.json").read_text()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(UserError, match="toy: cannot be written: No space left on device"):
        write_prepared(folder, ADAPTER, splits | {"train": split(9)}, "")
    assert (folder / "meta.json").read_text() == before
    assert [path.name for path in folder.parent.iterdir()] == ["toy"]


def test_validation_is_carved_disjoint_complete_and_the_same_share_of_each_class():
    x = np.arange(300).reshape(300, 1, 1, 1)
    y = np.repeat([0, 1, 2], [200, 90, 10])
    train, validation = carve_validation(Split(x, y, {"id": np.arange(300)}), 0.1)
    ids = np.concatenate([train.columns["id"], validation.columns["id"]])
    assert sorted(ids) == list(range(300))
    assert np.bincount(validation.y).tolist() == [20, 9, 1]
    for part in (train, validation):
        np.testing.assert_array_equal(part.x[:, 0, 0, 0], part.columns["id"])
        np.testing.assert_array_equal(part.y, y[part.columns["id"]])


def test_the_carved_validation_split_is_the_same_for_ever():
    """Committed rows depend on these positions."""
    _, validation = carve_validation(Split(np.zeros((40, 1)), np.arange(40) % 2, {"id": np.arange(40)}), 0.1)
    assert validation.columns["id"].tolist() == [8, 9, 10, 39]


def test_a_class_of_one_example_cannot_be_carved():
    with pytest.raises(UserError, match="class 1 has one training example"):
        carve_validation(Split(np.zeros((3, 1)), np.array([0, 0, 1])), 0.1)


def test_meta_says_where_the_data_come_from(folder):
    meta = json.loads((folder / "meta.json").read_text())
    assert meta["source"] == "a test" and meta["modality"] == "image"
    assert len(meta["splits"]["train"]["arrays"]["x"]["sha256"]) == 64
