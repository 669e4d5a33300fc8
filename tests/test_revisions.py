"""Files of a git revision: read as they were committed, from any kind of clone, with one line where that fails."""

import os
import subprocess
from pathlib import Path

import pytest

from contrastbench.errors import UserError
from contrastbench.results.revisions import WORKTREE, files_at


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


FILES = {
    "rows/plain.jsonl": b"a\n",
    "rows/with spaces/[x] *.jsonl": b"b\r\n",
    os.fsdecode(b"rows/not-\xff-utf8.jsonl"): b"\xff\x00",
    f"rows/{'d' * 90}/{'n' * 120}.jsonl": b"longer than a tar header's name",
    "params.yaml": b"x: 1\n",
}
ATTRIBUTES = "* text eol=crlf\nrows export-ignore\n*.yaml export-subst\n"


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A repository whose project lies in a folder with a space, and whose attributes would change an archive."""
    folder = tmp_path_factory.mktemp("source")
    git(folder, "init", "--quiet")
    project = folder / "my project"
    for name, content in FILES.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_bytes(content)
    (project / "rows/link.jsonl").symlink_to("plain.jsonl")
    git(folder, "add", "--all")
    (folder / ".gitattributes").write_text(ATTRIBUTES)
    (project / ".gitattributes").write_text(ATTRIBUTES)
    git(folder, "add", ".gitattributes", "my project/.gitattributes")
    git(folder, "commit", "--quiet", "--message", "one")
    git(folder, "config", "uploadpack.allowFilter", "true")
    git(folder, "config", "uploadpack.allowAnySHA1InWant", "true")
    return project


def test_files_are_what_was_committed(source):
    for path in (source / "rows").rglob("*.jsonl"):
        path.write_bytes(b"changed since")
    rows = {name: content for name, content in FILES.items() if name.startswith("rows/")}
    assert files_at("HEAD", "rows", source) == rows
    assert files_at("HEAD", "rows/with spaces", source) == {"rows/with spaces/[x] *.jsonl": b"b\r\n"}
    assert files_at("HEAD", "with spaces", source / "rows") == {"with spaces/[x] *.jsonl": b"b\r\n"}
    assert files_at("HEAD", "params.yaml", source) == {"params.yaml": b"x: 1\n"}
    assert files_at(WORKTREE, "params.yaml", source) == {"params.yaml": b"x: 1\n"}
    assert set(files_at(WORKTREE, "rows", source).values()) == {b"changed since"}


@pytest.mark.parametrize("revision", ["HEAD", WORKTREE])
@pytest.mark.parametrize("folder", ["no such", "rows/no such", "row?", ":(glob)rows/**"])
def test_what_is_not_there_is_nothing(source, revision, folder):
    assert files_at(revision, folder, source) == {}


def test_an_unknown_revision_and_a_folder_without_git_are_one_line(source, tmp_path):
    for revision, folder in (("nowhere", source), ("-x", source), ("HEAD:rows", source), ("HEAD", tmp_path)):
        with pytest.raises(UserError, match=r"unknown revision|not a git repository") as error:
            files_at(revision, "rows", folder)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("missing", ["blob:none", "tree:0"])
def test_a_partial_clone_fetches_what_it_lacks_or_says_so_in_one_line(source, tmp_path, missing):
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", f"--filter={missing}", "--no-checkout", f"file://{source.parent}", str(clone))
    away = source.parent.with_name("away")
    source.parent.rename(away)
    try:
        (clone / "my project").mkdir()
        with pytest.raises(UserError, match=r"could not fetch .*; this clone is partial") as error:
            files_at("HEAD", "rows", clone / "my project")
        assert "\n" not in str(error.value)
    finally:
        away.rename(source.parent)
    assert files_at("HEAD", "params.yaml", clone / "my project") == {"params.yaml": b"x: 1\n"}


def test_a_worktree_of_git_is_read_too(source, tmp_path):
    git(source, "worktree", "add", "--quiet", "--detach", str(tmp_path / "tree"))
    assert files_at("HEAD", "params.yaml", tmp_path / "tree/my project") == {"params.yaml": b"x: 1\n"}
    assert len(files_at("HEAD", "rows", tmp_path / "tree/my project")) == 4
