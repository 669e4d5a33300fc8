"""Sources are remembered between processes, and read anew when they changed."""

import json
import os
import subprocess
import sys

import pytest

CODE = """
import json, sys
from pathlib import Path
from contrastbench.pipeline import sources
CHANGE
parsed = []
parse = sources._parse
sources._parse = lambda key, content: parsed.append(key) or parse(key, content)
source = sources.read_source(Path("module.py").resolve())
print(json.dumps({"parsed": len(parsed), "imports": source.imports, "meaning": source.meaning}))
"""


@pytest.fixture
def read(tmp_path):
    """Read ``module.py`` in a fresh process: how often it was parsed, and what was found."""
    (tmp_path / "module.py").write_text('"""A docstring."""\nfrom os import path  # a remark\nx = 1\n')

    def run(change: str = "") -> str:
        code = CODE.replace("CHANGE", change)
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0 and not done.stderr, done.stderr
        return done.stdout

    return run


def test_a_file_is_parsed_once_and_again_when_it_changed(tmp_path, read):
    (tmp_path / "runs").mkdir()
    first, second = read(), read()
    assert '"parsed": 1' in first and second == first.replace('"parsed": 1', '"parsed": 0')
    assert '"meaning": "from os import path\\nx = 1"' in first and '["os", "os.path"]' in first
    module = tmp_path / "module.py"
    module.write_text(module.read_text().replace("x = 1", "x = 2"))  # of the same length
    assert '"parsed": 1' in read() and "x = 2" in read() and '"parsed": 0' in read()


def test_an_edit_is_seen_whatever_the_clock_says(tmp_path, read):
    (tmp_path / "runs").mkdir()
    read()
    module = tmp_path / "module.py"
    before = module.stat()
    module.write_text(module.read_text().replace("x = 1", "x = 2"))
    os.utime(module, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "x = 2" in read()


def test_what_another_version_of_the_reader_remembered_is_not_believed(tmp_path, read):
    (tmp_path / "runs").mkdir()
    read("sources.ast.unparse = lambda tree: 'of another version'; sources._salt = lambda: b'another version'")
    assert "x = 1" in read() and "another" not in read()


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "null", "[" * 100_000])
def test_a_damaged_memory_is_replaced(tmp_path, read, content):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/sources.json").write_text(content)
    assert '"parsed": 1' in read() and '"parsed": 0' in read()


@pytest.mark.parametrize(
    "entry",
    [
        3,
        "text",
        [1],
        None,
        {},
        {"imports": []},
        {"other": 1},
        {"imports": 1, "meaning": "x"},
        {"imports": [1], "meaning": "x"},
        {"imports": [], "meaning": 1},
    ],
)
def test_a_damaged_entry_is_read_anew(tmp_path, read, entry):
    (tmp_path / "runs").mkdir()
    good = read()
    memory = tmp_path / "runs/sources.json"
    memory.write_text(json.dumps(dict.fromkeys(json.loads(memory.read_text()), entry)))
    assert read() == good and '"parsed": 0' in read()


def test_the_memory_does_not_grow_for_ever(tmp_path, read):
    (tmp_path / "runs").mkdir()
    memory = tmp_path / "runs/sources.json"
    memory.write_text(json.dumps({str(number): {} for number in range(1000)}))
    read()
    assert len(json.loads(memory.read_text())) == 1


def test_nothing_is_left_in_a_folder_without_runs(tmp_path, read):
    read()
    assert [path.name for path in tmp_path.iterdir()] == ["module.py"]
