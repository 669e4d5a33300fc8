import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from reporting_rows import row, verdicts, write
from typer.testing import CliRunner

from contrastbench.cli import CLOSED_PIPE, UNEXPECTED, app, main
from contrastbench.errors import UserError
from contrastbench.reporting.compare import BETTER, GONE, NEW, NOT_COMPARABLE, SAME, WORSE, compare_revisions
from contrastbench.reporting.compare_render import as_html, as_json, as_markdown, summary
from contrastbench.results.load import ROWS
from contrastbench.results.rows import Row

THREE = (0, 1, 2)
PARAMS = "unremix:\n  training:\n    epochs: {epochs}\n  probe:\n    l2_grid: {grid}\n"


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false", "-c", "gc.auto=0")
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def commit(folder: Path, rows: list[Row], *, epochs: int = 15, grid: str = "[0.1, 1.0]", tag: str) -> None:
    subprocess.run(["rm", "-rf", ROWS], cwd=folder, check=True)
    write(folder, rows)
    (folder / "params.yaml").write_text(PARAMS.format(epochs=epochs, grid=grid))
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", tag)
    git(folder, "tag", tag)


def seeds(method: str, rate: float, noise: int = 0, **fields) -> list[Row]:
    return [row(method, seed, correct=verdicts(rate, seed=10 * noise + seed), **fields) for seed in THREE]


@pytest.fixture(scope="module")
def history(tmp_path_factory) -> Path:
    """Four commits: empty; first results; noise, improvement, loss; changed data and protocol, removed metric."""
    folder = tmp_path_factory.mktemp("history")
    git(folder, "init", "--quiet")
    (folder / "README.md").write_text("no results yet\n")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "empty")
    git(folder, "tag", "empty")
    distances = [row("simclr", s, 1.0 + s / 50, metric="median-distance", protocol="cw-l2") for s in THREE]
    first = [*seeds("simclr", 0.7), *seeds("hcl", 0.7), *seeds("dcl", 0.7), *seeds("pixels", 0.5), *distances]
    commit(folder, first, tag="first")
    second = [
        *seeds("simclr", 0.7, noise=4, code_hash="e" * 12),  # noise
        *seeds("hcl", 0.8, params_hash="q" * 12),  # improvement
        *seeds("dcl", 0.6),  # loss
        *seeds("pixels", 0.5),  # untouched
        *seeds("unremix", 0.9),  # new
        *distances,
    ]
    commit(folder, second, epochs=20, tag="second")
    third = [
        *seeds("simclr", 0.7, noise=4, data_hash="other"),  # changed data
        *seeds("hcl", 0.82, params_hash="r" * 12),  # changed protocol parameter
        *[row("dcl", s, correct=verdicts(0.6, 400, seed=s)) for s in THREE],  # changed n
        *[row("pixels", s + 5, correct=verdicts(0.5)) for s in THREE],  # other seeds
        *seeds("unremix", 0.9),
    ]  # the metric median-distance is gone
    commit(folder, third, epochs=20, grid="[1.0]", tag="third")
    return folder


def verdicts_of(history: Path, before: str, after: str) -> dict[tuple[str, str], str]:
    changes = compare_revisions(before, after, "default", history).changes
    return {(change.key.method, change.key.metric): change.verdict for change in changes}


def test_noise_improvement_loss_and_new_are_told_apart(history):
    assert verdicts_of(history, "first", "second") == {
        ("pixels", "top1"): SAME,
        ("simclr", "top1"): SAME,
        ("hcl", "top1"): BETTER,
        ("dcl", "top1"): WORSE,
        ("unremix", "top1"): NEW,
        ("simclr", "median-distance"): SAME,
    }


def test_what_is_not_comparable_says_why_and_a_removed_metric_is_gone(history):
    comparison = compare_revisions("second", "third", "default", history)
    found = {(change.key.method, change.key.metric): (change.verdict, change.why) for change in comparison.changes}
    assert found["simclr", "top1"] == (NOT_COMPARABLE, "test data changed: dddddddddddd to other")
    assert found["hcl", "top1"] == (NOT_COMPARABLE, "parameters of the protocol changed: unremix.probe.l2_grid")
    assert found["dcl", "top1"] == (NOT_COMPARABLE, "n changed: 500 to 400")
    assert found["pixels", "top1"] == (NOT_COMPARABLE, "no seed in common")
    assert found["simclr", "median-distance"] == (GONE, "")
    assert found["unremix", "top1"] == (SAME, "")


def test_causes_and_summary_name_parameters_and_code(history):
    comparison = compare_revisions("first", "second", "default", history)
    why = {change.key.method: change.why for change in comparison.changes if change.key.metric == "top1"}
    assert (why["simclr"], why["hcl"], why["dcl"]) == ("code", "params", "")
    lines = summary(comparison)
    assert lines[0].startswith("6 cells: 1 better, 1 worse, 1 new, 3 same")
    assert lines[1] == "params: unremix.training.epochs 15 to 20"
    assert lines[2] == "code: changed behind 3 of 15 rows of stage probe"


def test_only_changed_cells_unless_all(history):
    comparison = compare_revisions("first", "second", "default", history)
    shown = [(change.key.method, change.key.metric) for change in comparison.shown(False)]
    assert ("pixels", "top1") not in shown and ("simclr", "top1") in shown
    assert len(comparison.shown(True)) == 6
    assert compare_revisions("first", "first", "default", history).shown(False) == []


def test_swapping_the_revisions_swaps_the_verdicts(history):
    forward, back = verdicts_of(history, "first", "second"), verdicts_of(history, "second", "first")
    swap = {BETTER: WORSE, WORSE: BETTER, NEW: GONE, GONE: NEW, SAME: SAME}
    assert back == {key: swap[verdict] for key, verdict in forward.items()}


def test_the_working_tree_is_read_and_never_touched(history, tmp_path):
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(history), str(clone))
    write(clone, seeds("simclr", 0.9, data_hash="other"))
    (clone / "unfinished.txt").write_text("mine\n")
    index = (clone / ".git/index").read_bytes()
    before = git(clone, "status", "--porcelain")
    assert verdicts_of(clone, "third", "WORKTREE")["simclr", "top1"] == BETTER
    assert verdicts_of(clone, "third", "first")["simclr", "median-distance"] == NEW
    assert (clone / ".git/index").read_bytes() == index
    assert git(clone, "status", "--porcelain") == before


def test_a_shallow_clone_compares_what_it_has_and_says_what_it_lacks(history, tmp_path):
    clone = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{history}", str(clone))
    assert verdicts_of(clone, "HEAD", "WORKTREE")["unremix", "top1"] == SAME
    with pytest.raises(UserError, match=r"unknown revision 'HEAD~1'; this clone is shallow"):
        compare_revisions("HEAD~1", "HEAD", "default", clone)


def test_a_commit_without_results_gives_one_line_and_the_rest_is_shown(history):
    comparison = compare_revisions("empty", "first", "default", history)
    assert {change.verdict for change in comparison.changes} == {NEW}
    assert [line for line in comparison.problems if "no result rows of preset 'default'" in line]
    with pytest.raises(UserError, match="neither"):
        compare_revisions("empty", "empty", "default", history)


def test_a_corrupt_row_in_a_commit_is_told_and_left_out(history, tmp_path):
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(history), str(clone))
    (clone / ROWS / "default/probe/unremix/mnist5k/unremix/linear/1.json").write_text("{}")
    comparison = compare_revisions("third", "WORKTREE", "default", clone)
    assert len(comparison.problems) == 1 and "row schema None" in comparison.problems[0]
    assert "compared on those in common" in next(c.why for c in comparison.changes if c.key.method == "unremix")


def test_a_project_in_a_subfolder_of_its_repository(tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    git(tmp_path, "init", "--quiet")
    commit(project, seeds("simclr", 0.7), tag="one")
    assert verdicts_of(project, "one", "WORKTREE") == {("simclr", "top1"): SAME}


def test_markdown_json_and_html_show_the_same_cells(history):
    comparison = compare_revisions("first", "second", "default", history)
    content = json.loads(as_json(comparison, True))
    assert content["counts"][WORSE] == 1 and len(content["cells"]) == 6
    dcl = next(cell for cell in content["cells"] if cell["method"] == "dcl")
    means = [np.mean([row.value for row in seeds("dcl", rate)]) for rate in (0.7, 0.6)]
    assert (dcl["before"]["mean"], dcl["after"]["mean"]) == pytest.approx(means)
    assert dcl["difference"] == pytest.approx(means[1] - means[0])
    markdown = as_markdown(comparison, False)
    assert markdown.count("\n| ") == 2 + len(comparison.shown(False))
    html = as_html(comparison, False)
    assert "<script" not in html and html.count("<tr>") == 1 + len(comparison.shown(False))


@pytest.mark.parametrize("option", ["--markdown", "--json", "--html", "--all"])
def test_exit_code_is_one_when_something_got_worse(history, monkeypatch, option):
    monkeypatch.chdir(history)
    assert CliRunner().invoke(app, ["compare", "first", "second", option]).exit_code == 1
    assert CliRunner().invoke(app, ["compare", "second", "third", option]).exit_code == 0


@pytest.mark.parametrize("arguments", [["nowhere", "HEAD"], ["--", "-x", "HEAD"], ["HEAD", "HEAD", "--json", "--html"]])
def test_mistakes_are_one_line_and_exit_code_two(history, monkeypatch, capsys, arguments):
    monkeypatch.chdir(history)
    monkeypatch.setattr("sys.argv", ["contrastbench", "compare", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (TypeError("bug"), UNEXPECTED, "TypeError: bug"),
        (EOFError(), UNEXPECTED, "EOFError"),
        (RecursionError(), UNEXPECTED, "RecursionError"),
        (OSError(5, "Input/output error"), 2, "a file: Input/output error"),
    ],
)
def test_a_fault_never_ends_with_the_code_that_says_worse(history, monkeypatch, capsys, error, code, told):
    def fails(*_):
        raise error

    monkeypatch.chdir(history)
    monkeypatch.setattr("contrastbench.reporting.compare.compare_revisions", fails)
    monkeypatch.setattr("sys.argv", ["contrastbench", "compare", "first", "second"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == code
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_a_closed_pipe_does_not_say_worse(history, repository, option):
    environment = os.environ | {"PYTHONPATH": str(repository / "src")}
    script = "from contrastbench.cli import main; main()"
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, "-c", script, "compare", "first", "first", "--all", *option],
        cwd=history, env=environment, stdout=writer, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (CLOSED_PIPE, "")


def test_a_row_of_the_wrong_type_is_told_and_not_compared(history, tmp_path):
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(history), str(clone))
    for seed, detail in enumerate(({"failed_checks": 5}, {"draws": 7})):
        path = clone / ROWS / f"default/probe/unremix/mnist5k/unremix/linear/{seed}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"detail": detail}))
    comparison = compare_revisions("third", "WORKTREE", "default", clone)
    assert len(comparison.problems) == 2 and all("Input should be a valid list" in line for line in comparison.problems)


def test_outside_a_repository_is_one_line(tmp_path):
    with pytest.raises(UserError, match="not a git repository"):
        compare_revisions("HEAD", "HEAD", "default", tmp_path)
