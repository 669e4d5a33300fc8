"""Archives from folder, mirror or network: verified before they are opened, and never half-written."""

import errno
import hashlib
import http.server
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from contrastbench.datasets import fetch as fetching
from contrastbench.datasets.base import Adapter, Archive
from contrastbench.datasets.fetch import fetch, unpacked
from contrastbench.errors import UserError

CONTENT = b"the official bytes" * 10_000
NAME = "official.tar.gz"


@pytest.fixture
def server(monkeypatch) -> Iterator[str]:
    """A server on this machine: /good sends CONTENT, /short breaks off in the middle, anything else is 404."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path not in ("/good", "/short"):
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT if self.path == "/good" else CONTENT[:1000])

        def log_message(self, *_):
            pass

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv(fetching.MIRROR_VARIABLE, raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def adapter(url: str = "http://127.0.0.1:9/closed", algorithm: str = "sha256", size: int | None = None) -> Adapter:
    archive = Archive(url, NAME, hashlib.new(algorithm, CONTENT).hexdigest(), algorithm, size)
    return Adapter("toy", "image", ("a",), "licence", "source", "rule", lambda *_: {}, (archive,))


def refused(*arguments, **keywords) -> str:
    with pytest.raises(UserError) as caught:
        fetch(*arguments, show_progress=False, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_a_file_in_the_raw_folder_is_verified_and_taken(tmp_path, algorithm):
    (tmp_path / NAME).write_bytes(CONTENT)
    assert fetch(adapter(algorithm=algorithm), tmp_path) == [tmp_path / NAME]


def test_a_wrong_file_is_refused_and_left_for_its_owner(tmp_path):
    (tmp_path / NAME).write_bytes(b"x" + CONTENT[1:])
    message = refused(adapter(), tmp_path)
    assert "wrong file (sha256" in message and "delete it and fetch again" in message
    assert (tmp_path / NAME).exists()


def test_a_truncated_file_is_called_so(tmp_path):
    (tmp_path / NAME).write_bytes(CONTENT[:-1])
    assert "truncated file (179,999 of 180,000 bytes)" in refused(adapter(size=len(CONTENT)), tmp_path)


@pytest.mark.parametrize("inside", [".", "toy"])
def test_a_mirror_is_used_before_the_network(tmp_path, inside):
    mirror, raw = tmp_path / "mirror", tmp_path / "raw"
    (mirror / inside).mkdir(parents=True, exist_ok=True)
    (mirror / inside / NAME).write_bytes(CONTENT)
    assert fetch(adapter(), raw, mirror) == [raw / NAME]
    assert (raw / NAME).read_bytes() == CONTENT


def test_the_variable_names_a_mirror_and_the_option_overrides_it(tmp_path, monkeypatch):
    good, wrong = tmp_path / "good", tmp_path / "wrong"
    for folder, content in ((good, CONTENT), (wrong, b"wrong")):
        folder.mkdir()
        (folder / NAME).write_bytes(content)
    monkeypatch.setenv(fetching.MIRROR_VARIABLE, str(good))
    fetch(adapter(), tmp_path / "raw")
    assert (tmp_path / "raw" / NAME).read_bytes() == CONTENT
    assert "repair the mirror" in refused(adapter(), tmp_path / "other", wrong)
    assert list((tmp_path / "other").iterdir()) == []


def test_a_missing_mirror_is_named(tmp_path):
    assert refused(adapter(), tmp_path, tmp_path / "none") == f"mirror {tmp_path / 'none'}: no such folder"


def test_download(tmp_path, server):
    assert fetch(adapter(f"{server}/good"), tmp_path, show_progress=False) == [tmp_path / NAME]
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [tmp_path / NAME]


@pytest.mark.parametrize(
    ("page", "expected"),
    [("short", "(truncated|wrong) file|cannot be downloaded"), ("none", "cannot be downloaded .*Not Found.*--mirror")],
)
def test_a_failed_download_leaves_nothing(tmp_path, server, page, expected):
    with pytest.raises(UserError, match=expected):
        fetch(adapter(f"{server}/{page}", size=len(CONTENT)), tmp_path, show_progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_closed_port_is_one_line(tmp_path):
    assert "cannot be downloaded" in refused(adapter(), tmp_path)


def test_a_download_with_the_wrong_hash_leaves_nothing(tmp_path, server):
    source = adapter(f"{server}/good")
    wrong = Archive(source.archives[0].url, NAME, "0" * 64, "sha256")
    toy = Adapter("toy", "image", ("a",), "", "", "", lambda *_: {}, (wrong,))
    assert f"put the official {NAME} into {tmp_path}" in refused(toy, tmp_path)
    assert list(tmp_path.iterdir()) == []


class Interrupted(io.BytesIO):
    """An answer that ends in ``error`` after its first block."""

    headers: ClassVar[dict[str, str]] = {}

    def __init__(self, error: BaseException) -> None:
        super().__init__(CONTENT)
        self._error = error

    def read(self, size=-1):
        if self.tell():
            raise self._error
        return super().read(100)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_an_interrupted_download_leaves_nothing(tmp_path, monkeypatch, error):
    monkeypatch.setattr(fetching.urllib.request, "urlopen", lambda *_, **__: Interrupted(error))
    with pytest.raises((KeyboardInterrupt, UserError)) as caught:
        fetch(adapter(), tmp_path, show_progress=False)
    assert isinstance(caught.value, KeyboardInterrupt) or "No space left on device" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refused(adapter(), tmp_path / "file" / "raw")


def make_tar(path: Path, member: str, *, link: str | None = None) -> None:
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo(member)
        if link is not None:
            info.type, info.linkname = tarfile.SYMTYPE, link
            archive.addfile(info)
        else:
            info.size = 4
            archive.addfile(info, io.BytesIO(b"evil"))


def make_zip(path: Path, member: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, "evil")


@pytest.fixture(params=["this Python", "before 3.11.4"])
def tar_filters(request, monkeypatch):
    """Python as it is, and as it was before tarfile had filters."""
    if request.param == "before 3.11.4" and hasattr(tarfile, "data_filter"):
        monkeypatch.delattr(tarfile, "data_filter")


@pytest.mark.usefixtures("tar_filters")
@pytest.mark.parametrize("make, name", [(make_tar, "a.tar.gz"), (make_zip, "a.zip")])
def test_unpacked_holds_the_files_while_it_lasts(tmp_path, make, name):
    make(tmp_path / name, "folder/file")
    with unpacked(tmp_path / name) as folder:
        assert (folder / "folder" / "file").read_text() == "evil"
    assert list(tmp_path.iterdir()) == [tmp_path / name]


@pytest.mark.usefixtures("tar_filters")
@pytest.mark.parametrize("member", ["../evil", "/tmp/evil", "a/../../evil"])
@pytest.mark.parametrize("make, name", [(make_tar, "a.tar.gz"), (make_zip, "a.zip")])
def test_a_member_outside_the_archive_is_refused(tmp_path, make, name, member):
    raw = tmp_path / "raw"
    raw.mkdir()
    make(raw / name, member)
    with pytest.raises(UserError, match=r"cannot be unpacked: '.*evil' points outside"), unpacked(raw / name):
        pass
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [name]


@pytest.mark.usefixtures("tar_filters")
@pytest.mark.parametrize("target", ["../../outside", "folder/inside"])
def test_a_link_is_refused(tmp_path, target):
    make_tar(tmp_path / "a.tar.gz", "link", link=target)
    with pytest.raises(UserError, match="cannot be unpacked"), unpacked(tmp_path / "a.tar.gz"):
        pass


@pytest.mark.parametrize("name", ["a.tar.gz", "a.zip"])
def test_a_broken_archive_is_one_line(tmp_path, name):
    (tmp_path / name).write_bytes(b"no archive at all")
    with pytest.raises(UserError, match="cannot be unpacked"), unpacked(tmp_path / name):
        pass
    assert list(tmp_path.iterdir()) == [tmp_path / name]


def test_an_unpacked_folder_stands_in_for_the_archive(tmp_path):
    """The reader checks the official hash of every file in it (tests/test_datasets.py)."""
    (tmp_path / "folder").mkdir()
    source = adapter()
    toy = Adapter("toy", "image", ("a",), "", "", "", lambda *_: {}, source.archives, ("folder",))
    assert fetch(toy, tmp_path) == [tmp_path / "folder"]
