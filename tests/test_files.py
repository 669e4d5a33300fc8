"""Files are whole or absent, whatever happens while they are written."""

import errno
import hashlib

import pytest

from contrastbench import files
from contrastbench.errors import UserError
from contrastbench.files import file_hash, replacing, write_text


def test_text_is_written_whole_into_folders_that_are_made(tmp_path):
    write_text(tmp_path / "a" / "b.txt", "grün\n")
    assert (tmp_path / "a" / "b.txt").read_bytes() == "grün\n".encode()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.txt"]


@pytest.mark.parametrize("error", [RuntimeError("bug"), KeyboardInterrupt()])
def test_a_failure_leaves_what_was_there(tmp_path, error):
    (tmp_path / "x").write_text("old")
    with pytest.raises(type(error)), replacing(tmp_path / "x") as temporary:
        temporary.write_text("half of the n")
        raise error
    assert (tmp_path / "x").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_readers_see_the_old_file_until_the_new_one_is_whole(tmp_path):
    (tmp_path / "x").write_text("old")
    with replacing(tmp_path / "x") as temporary:
        temporary.write_text("new")
        assert (tmp_path / "x").read_text() == "old"
    assert (tmp_path / "x").read_text() == "new"


def test_a_folder_replaces_a_folder(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "old").write_text("")
    with replacing(tmp_path / "d") as temporary:
        (temporary / "inner").mkdir(parents=True)
        (temporary / "inner" / "new").write_text("")
    assert sorted(path.name for path in (tmp_path / "d").rglob("*")) == ["inner", "new"]


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(UserError) as caught:
        write_text(tmp_path / "x", "text")
    assert str(caught.value) == f"{tmp_path / 'x'}: cannot be written: No space left on device"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/x: cannot be written: "):
        write_text(tmp_path / "file" / "x", "text")


def test_file_hash_equals_hashlib(tmp_path):
    content = bytes(range(256)) * 999
    (tmp_path / "x").write_bytes(content)
    assert file_hash(tmp_path / "x") == hashlib.sha256(content).hexdigest()
    assert file_hash(tmp_path / "x", "md5") == hashlib.md5(content).hexdigest()
