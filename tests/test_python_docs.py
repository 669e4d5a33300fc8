"""docs/python.md and the notebook: every block of code runs as printed."""

import ast
import json
import re
import shutil
from contextlib import chdir

import pytest
from conftest import REPOSITORY
from test_compare import git
from typer.testing import CliRunner

from contrastbench import cli

PAGE, NOTEBOOK = REPOSITORY / "docs/python.md", REPOSITORY / "docs/notebook.ipynb"
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def command(line: str) -> None:
    answer = CliRunner().invoke(cli.app, line.split()[1:])
    assert answer.exit_code == 0, (line, answer.output, answer.exception)


@pytest.fixture
def project(tmp_path):
    """What a page's reader has: the repository, of whose results one preset is enough."""
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    shutil.copytree(REPOSITORY / "presets", tmp_path / "presets")
    shutil.copytree(REPOSITORY / "results/rows/cifar", tmp_path / "results/rows/cifar")
    (tmp_path / "docs").mkdir()
    shutil.copy(NOTEBOOK, tmp_path / "docs")
    (tmp_path / ".gitignore").write_text("data/\nruns/\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "all")
    return tmp_path


def test_every_block_of_the_page_runs_and_says_what_it_prints(project, capsys):
    said, names = [], {}
    with chdir(project):
        for language, code in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
            if language == "sh":
                for line in code.splitlines():
                    command(line)
                continue
            exec(compile(code, str(PAGE), "exec"), names)
            printed = capsys.readouterr().out
            said += [(told, printed) for told in re.findall(r"^ *print\(.*\)  # (.*)$", code, re.MULTILINE)]
    assert len(said) >= 4 and all(told in printed for told, printed in said)


def code_cells() -> list[dict]:
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (content["nbformat"], content["metadata"]["kernelspec"]["name"]) == (4, "python3")
    return [cell for cell in content["cells"] if cell["cell_type"] == "code"]


def test_the_notebook_runs(project):
    """Cell by cell, in its folder; what a cell shows is the value of its last line."""
    shown, names = [], {}
    with chdir(project / "docs"):
        for cell in code_cells():
            tree = ast.parse("".join(cell["source"]))
            last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, str(NOTEBOOK), "exec"), names)
            shown += [eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names)] if last else []
    table, _, rows, features, shape, on_digits, on_own, outcomes, _ = shown
    assert {"random", "simclr"} <= {*table.method} and len(rows) == table.seeds.max()
    assert shape == (10, features) and [*on_digits.protocol] == ["linear", "low-label-5", "knn"]
    assert on_own["SimCLR, one epoch"].value.min() > 0.4
    assert [*outcomes.index] == ["identical"]
    shutil.rmtree(names["project"])


def test_the_notebook_is_committed_without_outputs():
    """They would be stale, and name the machine."""
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code_cells())
