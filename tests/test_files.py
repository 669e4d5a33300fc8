"""Files are whole or absent, whatever happens while they are written."""

import errno
import hashlib
import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from contrastbench import files
from contrastbench.errors import UserError
from contrastbench.files import (
    UNFINISHED,
    behind_link,
    entries_under,
    file_hash,
    reading,
    replacing,
    sweep_below,
    write_bytes,
    write_text,
)
from contrastbench.results.load import rows_in
from contrastbench.results.revisions import WORKTREE, files_at


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


def test_bytes_are_written_whole(tmp_path):
    write_bytes(tmp_path / "a" / "x", memoryview(b"\0\1"))
    assert (tmp_path / "a" / "x").read_bytes() == b"\0\1"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_text(pipe, "text")
        assert os.read(reader, 100) == b"text"
    finally:
        os.close(reader)
    assert pipe.is_fifo() and list(tmp_path.iterdir()) == [pipe]


def test_a_device_is_written_to_and_its_error_is_one_line(tmp_path):
    """A device like /dev/full, made here: never a real one in a test that might break it."""
    device = tmp_path / "full"
    try:
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 7))
        device.open("rb").close()
    except OSError:
        pytest.skip("needs the right to make devices")
    with pytest.raises(UserError, match=r"full: cannot be written: No space left on device"):
        write_text(device, "text")
    assert device.is_char_device() and list(tmp_path.iterdir()) == [device]


def test_a_socket_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        with pytest.raises(UserError, match=r"^socket: cannot be written: neither a file nor a stream$"):
            write_text(Path("socket"), "text")
    assert Path("socket").is_socket() and len(list(tmp_path.iterdir())) == 1


def test_a_link_that_a_user_names_stays_and_leads_to_the_new_file(tmp_path):
    (tmp_path / "real").mkdir()
    for name in ("there", "absent"):
        (tmp_path / name).symlink_to(tmp_path / "real" / name)
    (tmp_path / "real/there").write_text("old")
    for name in ("there", "absent"):
        write_text(behind_link(tmp_path / name), "new")
        assert (tmp_path / name).is_symlink() and (tmp_path / "real" / name).read_text() == "new"
    (tmp_path / "folder").symlink_to(tmp_path / "real")
    for path in (tmp_path / "folder", tmp_path / "real/there", tmp_path / "nothing"):
        assert behind_link(path) == path


def test_a_link_of_the_pipeline_is_replaced_and_its_file_stays(tmp_path):
    """DVC's cache may hold the file that an output links to, under the hash of its content."""
    (tmp_path / "cached").write_text("old")
    (tmp_path / "output").symlink_to(tmp_path / "cached")
    write_text(tmp_path / "output", "new")
    assert (tmp_path / "cached").read_text() == "old" and (tmp_path / "output").read_text() == "new"
    assert not (tmp_path / "output").is_symlink()


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="the system has no /dev/shm")
def test_a_link_is_replaced_on_a_file_system_in_memory_too():
    """A folder below /dev, whose links are not the system's."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        test_a_link_of_the_pipeline_is_replaced_and_its_file_stays(Path(name))


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="the system has no /dev/shm")
@pytest.mark.parametrize("make", [Path.write_text, lambda path, _: (path.mkdir(), (path / "in").write_text("new"))])
def test_a_link_to_another_file_system_is_replaced(tmp_path, make):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        cached = Path(name, "cached")
        make(cached, "old")
        (tmp_path / "output").symlink_to(cached)
        before = sorted(Path(name).rglob("*"))
        with replacing(tmp_path / "output") as temporary:
            make(temporary, "new")
        assert not (tmp_path / "output").is_symlink() and sorted(Path(name).rglob("*")) == before
        assert cached.is_dir() or cached.read_text() == "old"


def test_a_hard_link_to_a_cached_file_that_is_read_only_is_replaced(tmp_path):
    (tmp_path / "cached").write_text("old")
    (tmp_path / "cached").chmod(0o444)
    os.link(tmp_path / "cached", tmp_path / "output")
    write_text(tmp_path / "output", "new")
    assert (tmp_path / "cached").read_text() == "old" and (tmp_path / "output").read_text() == "new"
    assert (tmp_path / "output").stat().st_mode & stat.S_IWUSR


def test_a_folder_of_a_containers_image_is_replaced(tmp_path, monkeypatch):
    """overlayfs refuses to rename a folder of a lower layer as if it lay on another file system."""
    replace = os.replace

    def overlay(source, target):
        if Path(source) == tmp_path / "d":
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", overlay)
    test_a_folder_replaces_a_folder(tmp_path)


KILLED = """
import os, signal
from pathlib import Path
from contrastbench import files
files._flush = lambda path: os.kill(os.getpid(), signal.SIGKILL)
files.write_text(Path("x"), "half")
"""


def killed_while_writing(folder: Path, repository: Path) -> Path:
    """The temporary folder that a process leaves in ``folder`` which is killed between writing and renaming."""
    environment = os.environ | {"PYTHONPATH": str(repository / "src")}
    assert subprocess.run([sys.executable, "-c", KILLED], cwd=folder, env=environment).returncode < 0
    (left,) = folder.glob(f"{UNFINISHED}*")
    return left


def aged(folder: Path) -> None:
    hour_ago = folder.stat().st_mtime - 3600
    os.utime(folder, (hour_ago, hour_ago))


def test_what_a_killed_process_left_goes_with_the_next_file_beside_it(tmp_path, repository):
    left = killed_while_writing(tmp_path, repository)
    assert not (tmp_path / "x").exists()
    write_text(tmp_path / "y", "new")
    assert left.is_dir(), "it may be a living process's that has not come to its lock"
    aged(left)
    write_text(tmp_path / "y", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["y"]


def test_what_killed_processes_left_anywhere_can_be_swept(tmp_path, repository):
    (tmp_path / "a/b").mkdir(parents=True)
    aged(killed_while_writing(tmp_path / "a/b", repository))
    (tmp_path / "a/kept").write_text("")
    sweep_below(tmp_path)
    sweep_below(tmp_path / "absent")
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["a", "b", "kept"]


def test_what_a_living_process_writes_is_never_swept(tmp_path):
    with replacing(tmp_path / "x") as temporary:
        temporary.write_text("new")
        (own,) = tmp_path.glob(f"{UNFINISHED}*")
        aged(own)
        write_text(tmp_path / "y", "other")
        sweep_below(tmp_path)
    assert (tmp_path / "x").read_text() == "new"


def test_nothing_is_swept_where_the_file_system_has_no_locks(tmp_path, repository, monkeypatch):
    left = killed_while_writing(tmp_path, repository)
    aged(left)

    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    write_text(tmp_path / "y", "new")
    assert left.is_dir() and (tmp_path / "y").read_text() == "new"


def test_git_and_dvc_leave_out_unfinished_files(repository):
    for name in (".gitignore", ".dvcignore"):
        assert f"{UNFINISHED}*/" in (repository / name).read_text(encoding="utf-8").splitlines()


def test_entries_are_everything_but_what_is_hidden(tmp_path):
    (tmp_path / "a" / "x.json").mkdir(parents=True)
    (tmp_path / "a" / "x.json" / "y").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "back").symlink_to(tmp_path)
    with replacing(tmp_path / "a" / "z.json") as temporary:
        temporary.write_text("half")
        assert [path.relative_to(tmp_path).as_posix() for path in entries_under(tmp_path)] == [
            "a", "a/x.json", "a/x.json/y", "back", "loop",
        ]  # fmt: skip
    assert entries_under(tmp_path / "absent") == []


def locked(monkeypatch, folder: Path) -> None:
    """Make ``folder`` unreadable, for root too, whom no permission keeps out."""
    scandir = os.scandir

    def refuses(path):
        if Path(path) == folder:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuses)


@pytest.mark.parametrize("inner", ["", "default", "default/probe"])
def test_a_folder_that_cannot_be_listed_is_one_line(tmp_path, monkeypatch, inner):
    folder = tmp_path / "results/rows" / inner
    (tmp_path / "results/rows/default/probe").mkdir(parents=True)
    locked(monkeypatch, folder)
    for read in (rows_in, lambda root: files_at(WORKTREE, "results/rows", root)):
        with pytest.raises(UserError) as caught:
            read(tmp_path)
        assert str(caught.value) == f"{folder}: cannot be read: Permission denied"


@pytest.mark.parametrize("error", [MemoryError(), OSError(24, "Too many open files"), UserError("of its own")])
def test_what_says_nothing_against_a_file_is_not_held_against_it(tmp_path, error):
    with pytest.raises(type(error)) as caught, reading(tmp_path / "x", "file", "delete it"):
        raise error
    assert caught.value is error
    with (
        pytest.raises(UserError, match=r"x: not a readable file \(KeyError: 'a'\); delete it"),
        reading(tmp_path / "x", "file", "delete it"),
    ):
        raise KeyError("a")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system has no /proc")
def test_a_file_that_stdout_is_appended_to_keeps_what_it_holds(tmp_path, repository):
    log = tmp_path / "log.txt"
    log.write_text("before\n")
    script = (
        "from pathlib import Path; from contrastbench.files import behind_link, write_text; "
        "write_text(behind_link(Path('/dev/stdout')), 'after')"
    )
    with log.open("a") as stream:
        subprocess.run(
            [sys.executable, "-c", script],
            stdout=stream,
            check=True,
            env=os.environ | {"PYTHONPATH": str(repository / "src")},
        )
    assert log.read_text() == "before\nafter" and Path("/dev/stdout").is_symlink()
