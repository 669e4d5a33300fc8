"""Two revisions, or two methods of one: what a cell's outcome is, what it is said of it, and how it is shown."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from browser import Browser
from reporting_rows import asked, loaded, parameters, path_of, row, verdicts, write, write_old
from typer.testing import CliRunner

from contrastbench.cli import CLOSED_PIPE, UNEXPECTED, app, main
from contrastbench.errors import UserError
from contrastbench.params.base import overlay
from contrastbench.params.root import from_content
from contrastbench.reporting.cells import cells_of
from contrastbench.reporting.compare import (
    BETTER,
    CHANGED,
    GONE,
    IDENTICAL,
    NEW,
    NOT_COMPARABLE,
    OUTCOMES,
    WORSE,
    Change,
    Comparison,
    compare_methods,
    compare_revisions,
    compare_rows_of,
)
from contrastbench.reporting.compare_render import as_html, as_json, as_markdown, summary
from contrastbench.results.load import ROWS
from contrastbench.results.rows import Row

THREE = (0, 1, 2)


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false", "-c", "gc.auto=0")
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def new_repository(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    git(folder, "init", "--quiet")
    return folder


def cloned(source: Path, folder: Path, *options: str) -> Path:
    git(folder.parent, "clone", "--quiet", *options, f"file://{source}", str(folder))
    return folder


def save(folder: Path, rows: list[Row], content: dict, *, stale: list[Row] = (), old: bool = False) -> None:
    """Write parameters, the rows that they ask for, and others as they are."""
    subprocess.run(["rm", "-rf", ROWS], cwd=folder, check=True)
    made = [*asked(rows, from_content(content, "test"), code=False, old=old), *stale]
    (write_old if old else write)(folder, made)
    (folder / "params.yaml").write_text(yaml.safe_dump(content))


def commit(folder: Path, tag: str) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", tag)
    git(folder, "tag", tag)


def seeds(method: str, rate: float, noise: int = 0, **fields) -> list[Row]:
    return [row(method, seed, correct=verdicts(rate, seed=10 * noise + seed), **fields) for seed in THREE]


def distances(*values: float) -> list[Row]:
    where = {"track": "swaro", "stage": "attack", "metric": "median-distance", "protocol": "cw-l2"}
    return [row("swaro", seed, value, n=32, **where) for seed, value in enumerate(values)]


@pytest.fixture(scope="module")
def history(tmp_path_factory) -> Path:
    """Commits: empty; first results; noise, improvement, loss; changed protocol and n, a metric that is gone."""
    folder = new_repository(tmp_path_factory.mktemp("history"))
    (folder / "README.md").write_text("no results yet\n")
    commit(folder, "empty")
    first = [*seeds("simclr", 0.7), *seeds("hcl", 0.7), *seeds("dcl", 0.7), *seeds("pixels", 0.5)]
    save(folder, [*first, *distances(1.0, 1.02, 1.04)], parameters())
    commit(folder, "first")
    second = [
        *seeds("simclr", 0.7, noise=4, code_hash="e" * 12),  # noise
        *seeds("hcl", 0.8),  # improvement
        *seeds("dcl", 0.6),  # loss
        *seeds("pixels", 0.5),  # untouched
        *seeds("unremix", 0.9),  # new
        *distances(0.7, 1.02, 0.9),  # fell by a seventh, which three seeds cannot tell from chance
    ]
    save(folder, second, parameters(unremix__training__epochs=20))
    commit(folder, "second")
    third = [
        *seeds("simclr", 0.7, noise=4),
        *seeds("hcl", 0.82),
        *[row("dcl", s, correct=verdicts(0.6, 400, seed=s)) for s in THREE],
        *seeds("unremix", 0.9),
    ]  # pixels and the metric median-distance are gone
    changed = parameters(unremix__training__epochs=20, unremix__probe__l2_grid=[1.0])
    save(folder, third, changed)
    commit(folder, "third")
    return folder


def outcomes(history: Path, before: str, after: str) -> dict[tuple[str, str], str]:
    changes = compare_revisions(before, after, "default", history).changes
    return {(change.key.method, change.key.metric): change.outcome for change in changes}


def test_noise_improvement_loss_and_new_are_told_apart(history):
    assert outcomes(history, "first", "second") == {
        ("pixels", "top1"): IDENTICAL,
        ("simclr", "top1"): CHANGED,
        ("hcl", "top1"): BETTER,
        ("dcl", "top1"): WORSE,
        ("unremix", "top1"): NEW,
        ("swaro", "median-distance"): CHANGED,
    }


def test_the_worst_comes_first_and_a_fallen_median_is_no_noise_of_the_mean(history):
    changes = compare_revisions("first", "second", "default", history).changes
    assert [change.outcome for change in changes] == [WORSE, CHANGED, CHANGED, NEW, BETTER, IDENTICAL]
    fallen = changes[1]
    assert fallen.key.method == "swaro" and fallen.harm == pytest.approx(0.147 / 1.02, abs=0.002)
    assert fallen.difference == pytest.approx((0.7 + 1.02 + 0.9) / 3 - 1.02)
    assert fallen.interval is not None and fallen.interval[0] < fallen.difference < 0 < fallen.interval[1]
    assert [OUTCOMES.index(change.outcome) for change in changes] == sorted(
        OUTCOMES.index(change.outcome) for change in changes
    )


def test_within_an_outcome_the_largest_loss_comes_first():
    before = [item for method in ("simclr", "dcl", "hcl", "unremix") for item in seeds(method, 0.8)]
    rates = {"simclr": 0.7, "dcl": 0.5, "hcl": 0.95, "unremix": 0.9}
    after = [item for method, rate in rates.items() for item in seeds(method, rate)]
    changes = compare_rows_of(loaded(before), loaded(after), {})
    assert [(change.key.method, change.outcome) for change in changes] == [
        ("dcl", WORSE),
        ("simclr", WORSE),
        ("unremix", BETTER),
        ("hcl", BETTER),
    ]
    worst = changes[0]
    assert worst.interval is not None and worst.interval[0] < worst.difference < worst.interval[1] < 0


def test_what_is_not_comparable_says_why_and_a_removed_metric_is_gone(history):
    comparison = compare_revisions("second", "third", "default", history)
    found = {(change.key.method, change.key.metric): (change.outcome, change.why) for change in comparison.changes}
    assert found["simclr", "top1"] == (NOT_COMPARABLE, "parameters of the protocol changed: unremix.probe.l2_grid")
    assert found["hcl", "top1"] == (NOT_COMPARABLE, "parameters of the protocol changed: unremix.probe.l2_grid")
    assert found["dcl", "top1"] == (NOT_COMPARABLE, "other n: 500 and 400")
    assert found["swaro", "median-distance"] == (GONE, "")
    assert found["pixels", "top1"] == (GONE, "")
    # the same values, of another protocol
    assert found["unremix", "top1"] == (NOT_COMPARABLE, "parameters of the protocol changed: unremix.probe.l2_grid")


def test_other_seeds_and_other_label_draws_are_not_comparable(tmp_path):
    folder = new_repository(tmp_path / "project")
    drawn = {"protocol": "low-label-5", "draws": [0.7, 0.7]}
    save(folder, [*seeds("simclr", 0.7), *seeds("hcl", 0.7, **drawn)], parameters())
    commit(folder, "one")
    later = [*[row("simclr", s + 5, correct=verdicts(0.7)) for s in THREE]]
    other = [row("hcl", s + 5, correct=verdicts(0.7), **drawn) for s in THREE]
    save(folder, [*later, *other], parameters(unremix__seeds=[5, 6, 7]))
    assert {change.why for change in compare_revisions("one", "WORKTREE", "default", folder).changes} == {
        "no seed in common"
    }
    save(folder, seeds("hcl", 0.7, protocol="low-label-5", draws=[0.7]), parameters())
    (change, _) = compare_revisions("one", "WORKTREE", "default", folder).changes
    assert (change.outcome, change.why) == (NOT_COMPARABLE, "other label draws: 2 and 1")


def test_a_changed_parameter_of_any_protocol_makes_its_rows_incomparable(tmp_path):
    """`audio_attack` was missing from a table of its own: a changed grid counted as an improvement."""
    folder = new_repository(tmp_path / "project")
    where = {"track": "uamix", "dataset": "instruments", "protocol": "audio-clean", "stage": "audio_attack"}
    few = {"track": "uamix", "dataset": "instruments", "protocol": "few-shot-5-way-1-shot-cl2n", "stage": "few_shot"}
    save(folder, [*seeds("mae", 0.6, **where), *seeds("mae", 0.6, **few)], parameters())
    commit(folder, "one")
    content = parameters(uamix__audio_attack__l2_grid=[1.0])
    save(folder, [*seeds("mae", 0.8, **where), *seeds("mae", 0.8, **few)], content)
    changes = compare_revisions("one", "WORKTREE", "default", folder).changes
    assert [(change.key.protocol.family, change.outcome, change.why) for change in changes] == [
        ("audio-clean", NOT_COMPARABLE, "parameters of the protocol changed: uamix.audio_attack.l2_grid"),
        ("few-shot", BETTER, ""),
    ]


def test_what_else_is_judged_or_attacked_changes_no_protocol(tmp_path):
    folder = new_repository(tmp_path / "project")
    attacked = {"track": "swaro", "stage": "attack", "protocol": "clean"}
    few = {"track": "uamix", "dataset": "instruments", "protocol": "few-shot-5-way-1-shot-cl2n", "stage": "few_shot"}
    rows = [*seeds("swaro", 0.6, **attacked), *seeds("mae", 0.6, **few)]
    save(folder, rows, parameters())
    commit(folder, "one")
    content = parameters(uamix__few_shot__datasets={"instruments": ["instruments", "esc50"]})
    budgets = content["swaro"]["robustness"]["budgets"]
    budgets["digits"] = budgets["mnist5k"] | {"main": 0.2}
    save(folder, rows, content)
    comparison = compare_revisions("one", "WORKTREE", "default", folder)
    assert {(change.outcome, change.why) for change in comparison.changes} == {(IDENTICAL, "")}
    budgets["mnist5k"] = budgets["mnist5k"] | {"main": 0.2}
    save(folder, rows, content)
    changes = compare_revisions("one", "WORKTREE", "default", folder).changes
    assert changes[0].why == "parameters of the protocol changed: swaro.robustness.budgets.mnist5k.main"


@pytest.mark.parametrize("old", [False, True])
def test_rows_of_other_parameters_are_not_averaged_in(tmp_path, monkeypatch, old):
    """A stale third seed, paired with itself, made a loss of 18 points "same" with exit code 0."""
    folder = new_repository(tmp_path / "project")
    content = parameters()
    save(folder, seeds("simclr", 0.9), content, old=old)
    commit(folder, "one")
    third = [row("simclr", 2, correct=verdicts(0.9, seed=2))]
    (stale,) = asked(third, from_content(content, "test"), code=False, old=old)
    fewer = parameters(unremix__training__epochs=1, unremix__seeds=[0, 1])
    save(folder, seeds("simclr", 0.72)[:2], fewer, stale=[stale], old=old)
    commit(folder, "two")
    for revision in ("two", "WORKTREE"):
        comparison = compare_revisions("one", revision, "default", folder)
        (change,) = comparison.changes
        assert change.outcome == WORSE and change.difference == pytest.approx(-0.18, abs=0.01)
        assert change.after is not None and [item.seed for item in change.after.rows] == [0, 1]
        (line,) = comparison.problems
        assert (
            line.startswith(f"{revision}: {ROWS}/default/probe/unremix/mnist5k/simclr/") and "1 rows left out" in line
        )
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(app, ["compare", "one", "two"])
    assert result.exit_code == 1 and result.stderr.count("\n") == 1


def test_a_row_made_with_other_parameters_than_its_revision_asks_for_is_left_out(tmp_path):
    folder = new_repository(tmp_path / "project")
    save(folder, seeds("simclr", 0.9), parameters())
    commit(folder, "one")
    stale = asked(seeds("simclr", 0.9), from_content(parameters(), "test"), code=False)
    save(folder, seeds("hcl", 0.9), parameters(unremix__training__epochs=1), stale=stale)
    comparison = compare_revisions("one", "WORKTREE", "default", folder)
    assert [(change.key.method, change.outcome) for change in comparison.changes] == [("simclr", GONE), ("hcl", NEW)]
    (line,) = comparison.problems
    assert "3 rows left out: made with other parameters than those asked for" in line


def test_the_data_prepared_here_say_nothing_about_a_commit(tmp_path):
    """Rows of a commit whose data were split otherwise are not comparable; they are not left out."""
    folder = new_repository(tmp_path / "project")
    save(folder, seeds("simclr", 0.7, data_hash="a" * 12), parameters())
    commit(folder, "one")
    save(folder, seeds("simclr", 0.7, data_hash="b" * 12), parameters())
    meta = {"name": "mnist5k", "modality": "image", "classes": ["a", "b"], "splits": {}, "source": "", "licence": ""}
    (folder / "data/prepared/mnist5k").mkdir(parents=True)
    (folder / "data/prepared/mnist5k/meta.json").write_text(json.dumps(meta | {"split_rule": "", "hash": "b" * 12}))
    comparison = compare_revisions("one", "WORKTREE", "default", folder)
    assert [(change.outcome, change.why) for change in comparison.changes] == [
        (NOT_COMPARABLE, f"other test data: {'a' * 12} and {'b' * 12}")
    ]
    assert comparison.problems == []
    (folder / "data/prepared/mnist5k/meta.json").write_text(json.dumps(meta | {"split_rule": "", "hash": "c" * 12}))
    left_out = compare_revisions("one", "WORKTREE", "default", folder)
    assert [change.outcome for change in left_out.changes] == [GONE]
    assert "3 rows left out: made on other data than those asked for" in left_out.problems[0]


def test_a_commit_of_the_old_layout_is_compared_with_one_of_the_new(tmp_path):
    """Its audio rows name a hash of spectrograms, its transferred attacks no parameters of their source."""
    folder = new_repository(tmp_path / "project")
    audio = {"track": "uamix", "dataset": "instruments", "protocol": "few-shot-5-way-1-shot-cl2n", "stage": "few_shot"}
    carried = {"track": "swaro", "protocol": "transfer-from-swav@0.1", "stage": "transfer_attack"}
    strong = {"track": "swaro", "protocol": "pgd-20-linf@0.1", "stage": "attack", "metric": "robust-top1"}
    content = parameters()
    params = from_content(content, "test")
    then = [
        *asked([*seeds("simclr", 0.7), *seeds("swaro", 0.6, **strong)], params, old=True),
        *asked(seeds("mae", 0.6, **audio, data_hash="0" * 12), params, old=True),
    ]
    (swaro,) = {item.params_hash for item in asked(seeds("swaro", 0.6, **strong), params, old=True)}
    old_transfer = seeds("swaro", 0.6, **carried, params_hash=swaro)
    subprocess.run(["rm", "-rf", ROWS], cwd=folder, check=True)
    write_old(folder, [*then, *old_transfer])
    (folder / "params.yaml").write_text(yaml.safe_dump(content))
    commit(folder, "old")
    now = [
        *seeds("simclr", 0.7),
        *seeds("swaro", 0.6, **strong),
        *seeds("mae", 0.6, **audio),
        *seeds("swaro", 0.6, **carried),
    ]
    save(folder, now, content)
    comparison = compare_revisions("old", "WORKTREE", "default", folder)
    assert comparison.problems == []
    assert {(change.key.method, change.outcome) for change in comparison.changes} == {
        ("simclr", IDENTICAL),
        ("swaro", IDENTICAL),
        ("mae", IDENTICAL),
    }
    assert len(comparison.changes) == 4
    assert summary(comparison)[1:3] == ["parameters: the same", "rows with other parameters: none"]


def test_causes_and_summary_name_parameters_and_code(history):
    comparison = compare_revisions("first", "second", "default", history)
    why = {change.key.method: change.why for change in comparison.changes if change.key.metric == "top1"}
    assert (why["simclr"], why["hcl"], why["dcl"], why["pixels"]) == ("parameters; code", *["parameters"] * 2, "")
    lines = summary(comparison)
    assert lines[0].startswith("6 cells: 1 worse; 2 changed, not significant; 1 new; 1 better; 1 identical (")
    assert lines[1:] == [
        "parameters: unremix.training.epochs 12 to 20",
        "rows with other parameters: 9 of 12 of stage probe",
        "rows of other code: 3 of 12 of stage probe",
    ]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"unremix__seeds": [0, 1, 2, 3]}, "unremix.seeds [0, 1, 2, 3, 4] to [0, 1, 2, 3]"),
        ({"uamix__settings__mae_joint__contrast_weight": 2.0}, "uamix.settings.mae_joint.contrast_weight 1.0 to 2.0"),
    ],
)
def test_parameters_that_no_row_names_are_said_without_contradiction(tmp_path, changes, told):
    folder = new_repository(tmp_path / "project")
    save(folder, seeds("simclr", 0.7), parameters())
    commit(folder, "one")
    save(folder, seeds("simclr", 0.7), parameters(**changes))
    comparison = compare_revisions("one", "WORKTREE", "default", folder)
    assert summary(comparison)[1:3] == [f"parameters: {told}", "rows with other parameters: none"]
    assert [(change.outcome, change.why) for change in comparison.changes] == [(IDENTICAL, "")]


def test_parameters_of_tracks_and_methods_that_a_preset_does_not_run_are_not_named(tmp_path):
    folder = new_repository(tmp_path / "project")
    own = {"tracks": ["uamix"], "uamix": {"methods": ["pixels", "mae"], "ablation": []}}
    (folder / "presets").mkdir()
    (folder / "presets/sound.yaml").write_text(yaml.safe_dump(own))
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters()))
    commit(folder, "one")
    changed = parameters(
        unremix__training__epochs=3, uamix__settings__mae_joint__contrast_weight=2.0, uamix__probe__knn_neighbours=3
    )
    (folder / "params.yaml").write_text(yaml.safe_dump(changed))
    rows = seeds("mae", 0.7, track="uamix", dataset="instruments", preset="sound")
    write(folder, asked(rows, from_content(overlay(changed, own), "test")))
    comparison = compare_revisions("one", "WORKTREE", "sound", folder)
    assert comparison.parameters == {"uamix.probe.knn_neighbours": ("10", "3")}


def test_parameters_that_this_version_cannot_read_are_compared_as_they_stand(tmp_path):
    folder = new_repository(tmp_path / "project")
    write(folder, seeds("simclr", 0.7, params_hash="a" * 12))
    (folder / "params.yaml").write_text("unremix:\n  probe:\n    l2: [1.0]\n  colour: red\n")
    commit(folder, "one")
    save(folder, seeds("simclr", 0.8), parameters())
    comparison = compare_revisions("one", "WORKTREE", "default", folder)
    assert comparison.parameters is not None and comparison.parameters["unremix.colour"] == ("red", "absent")
    (change,) = comparison.changes
    assert change.outcome == NOT_COMPARABLE and "unremix.probe.l2" in change.why
    assert len(comparison.problems) == 1 and "all rows count, whatever made them" in comparison.problems[0]
    (folder / "params.yaml").write_text("unremix: [")
    comparison = compare_revisions("one", "WORKTREE", "default", folder)
    assert comparison.parameters is None and summary(comparison)[1] == "parameters: cannot be compared"
    (change,) = comparison.changes
    assert change.why == "rows name other parameters, and those of the protocol cannot be read"
    assert all("\n" not in line for line in comparison.problems)


def test_without_a_test_the_difference_is_said_and_no_significance():
    pair = [[row("simclr", 0, value)] for value in (0.7, 0.4)]
    (change,) = compare_rows_of(loaded(pair[0]), loaded(pair[1]), {})
    assert (change.outcome, change.p_value, change.interval) == (CHANGED, None, None)
    assert change.difference == pytest.approx(-0.3)
    assert change.why == "no test: one seed and no verdict on every example"


def test_a_sanity_check_that_fails_now_is_a_change():
    before, after = seeds("simclr", 0.7), seeds("simclr", 0.7, failed_checks=["gradients are masked"])
    (change,) = compare_rows_of(loaded(before), loaded(after), {})
    assert (change.outcome, change.difference, change.why) == (CHANGED, 0.0, "fails a sanity check now")
    assert "⚠" in as_markdown(Comparison("", "", "", [change], []))


def test_a_cell_of_several_codes_is_marked():
    before = seeds("simclr", 0.7)
    after = [item.model_copy(update={"code_hash": "e" * 12}) if item.seed == 1 else item for item in before]
    (change,) = compare_rows_of(loaded(before), loaded(after), {})
    assert (change.outcome, change.why) == (IDENTICAL, "code")
    page = as_html(Comparison("", "", "", [change], []), True)
    assert page.count(" †</td>") == 1 and "†: not all seeds were made by the same code" in page


def test_only_changed_cells_unless_all(history):
    comparison = compare_revisions("first", "second", "default", history)
    shown = [(change.key.method, change.key.metric) for change in comparison.shown(False)]
    assert ("pixels", "top1") not in shown and ("simclr", "top1") in shown
    assert len(comparison.shown(True)) == 6
    assert compare_revisions("first", "first", "default", history).shown(False) == []


def test_swapping_the_revisions_swaps_the_outcomes(history):
    forward, back = outcomes(history, "first", "second"), outcomes(history, "second", "first")
    swap = {BETTER: WORSE, WORSE: BETTER, NEW: GONE, GONE: NEW, IDENTICAL: IDENTICAL, CHANGED: CHANGED}
    assert back == {key: swap[outcome] for key, outcome in forward.items()}


def test_the_working_tree_is_read_and_never_touched(history, tmp_path):
    clone = cloned(history, tmp_path / "clone")
    save(clone, seeds("simclr", 0.9), yaml.safe_load((clone / "params.yaml").read_text()))
    (clone / "unfinished.txt").write_text("mine\n")
    before = git(clone, "status", "--porcelain")
    index = (clone / ".git/index").read_bytes()  # after `git status`, which may refresh it
    assert outcomes(clone, "third", "WORKTREE")["simclr", "top1"] == BETTER
    assert outcomes(clone, "third", "first")["swaro", "median-distance"] == NEW
    assert (clone / ".git/index").read_bytes() == index
    assert git(clone, "status", "--porcelain") == before


def test_a_shallow_clone_compares_what_it_has_and_says_what_it_lacks(history, tmp_path):
    clone = cloned(history, tmp_path / "shallow", "--depth", "1")
    assert outcomes(clone, "HEAD", "WORKTREE")["unremix", "top1"] == IDENTICAL
    with pytest.raises(UserError, match=r"unknown revision 'HEAD~1'; this clone is shallow"):
        compare_revisions("HEAD~1", "HEAD", "default", clone)


def test_a_commit_without_results_gives_one_line_and_the_rest_is_shown(history):
    comparison = compare_revisions("empty", "first", "default", history)
    assert {change.outcome for change in comparison.changes} == {NEW}
    assert [line for line in comparison.problems if "no result rows of preset 'default'" in line]
    with pytest.raises(UserError, match="neither"):
        compare_revisions("empty", "empty", "default", history)


def test_a_corrupt_row_in_a_commit_is_told_and_left_out(history, tmp_path):
    clone = cloned(history, tmp_path / "clone")
    (clone / path_of(row("unremix", 1))).write_text("{}\n")
    comparison = compare_revisions("third", "WORKTREE", "default", clone)
    assert len(comparison.problems) == 1 and "row schema None" in comparison.problems[0]
    assert "compared on those in common" in next(c.why for c in comparison.changes if c.key.method == "unremix")


def test_a_project_in_a_subfolder_of_its_repository(tmp_path):
    project = tmp_path / "project with spaces"
    project.mkdir()
    git(tmp_path, "init", "--quiet")
    save(project, seeds("simclr", 0.7), parameters())
    commit(project, "one")
    assert outcomes(project, "one", "WORKTREE") == {("simclr", "top1"): IDENTICAL}


# Two methods of one revision


@pytest.fixture(scope="module")
def methods(tmp_path_factory) -> Path:
    folder = new_repository(tmp_path_factory.mktemp("methods"))
    rates = {"simclr": 0.7, "dcl": 0.71, "hcl": 0.8, "unremix": 0.6}
    rows = [item for index, (name, rate) in enumerate(rates.items()) for item in seeds(name, rate, noise=index)]
    rows += [*seeds("hcl", 0.9, protocol="knn"), *seeds("unremix", 0.9, protocol="knn")]
    rows += [*seeds("hcl", 0.5, protocol="low-label-5", n=400), *seeds("swaro", 0.5, track="swaro")]
    save(folder, rows, parameters())
    commit(folder, "one")
    return folder


def test_two_methods_are_compared_on_every_common_column(methods):
    comparison = compare_methods("one", "hcl", "unremix", "default", methods)
    assert [(change.key.protocol.name, change.outcome) for change in comparison.changes] == [
        ("linear", WORSE),
        ("knn", IDENTICAL),
    ]
    linear = comparison.changes[0]
    assert linear.difference == pytest.approx(-0.2, abs=0.01) and linear.p_value is not None
    assert linear.interval is not None and linear.interval[0] < linear.difference < linear.interval[1] < 0
    back = compare_methods("WORKTREE", "unremix", "hcl", "default", methods).changes[0]
    assert back.outcome == BETTER and back.difference == pytest.approx(-(linear.difference or 0))
    assert back.p_value == pytest.approx(linear.p_value)


def test_the_variance_of_two_methods_is_that_of_their_column(tmp_path):
    """As in the tables: three seeds of two calm methods may hardly vary by chance."""
    rng = np.random.default_rng(0)
    calm = {"simclr": (0.7, 0.7, 0.701), "dcl": (0.705, 0.704, 0.706)}
    column = calm | {name: tuple(0.7 + rng.normal(0, 0.05, 3)) for name in ("hcl", "unremix", "random")}
    rows = [row(name, seed, value) for name, values in column.items() for seed, value in enumerate(values)]

    def outcome(chosen: list[Row]) -> str:
        save(tmp_path, chosen, parameters())
        return compare_methods("WORKTREE", "simclr", "dcl", "default", tmp_path).changes[0].outcome

    assert outcome(rows) == CHANGED
    two = [item for item in rows if item.method in calm]
    assert outcome(two) == BETTER
    variants = [row("unremix-exp", seed, 0.3 + 0.2 * seed) for seed in THREE]
    assert outcome([*two, *variants]) == BETTER, "a variant may be trained for another length"
    change = compare_methods("WORKTREE", "simclr", "dcl", "default", tmp_path).changes[0]
    (alone,) = (cell for key, cell in cells_of(loaded(two)).items() if key.method == "dcl")
    assert change.after is not None and change.after.interval == alone.interval
    assert compare_methods("WORKTREE", "dcl", "unremix-exp", "default", tmp_path).changes


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["one", "--methods", "hcl", "nobody"], "of 'nobody', preset 'default'; there are: simclr, dcl, hcl, "),
        (["one", "--methods", "hcl", "swaro"], "hcl and swaro have no data set and protocol in common"),
        (["one", "--methods", "hcl", "hcl"], "--methods hcl hcl: name two methods"),
        (["one", "one", "--methods", "hcl", "unremix"], "methods are compared within one revision"),
        (["nowhere", "--methods", "hcl", "unremix"], "unknown revision 'nowhere'"),
        ([], "name a revision, or two methods by --methods"),
        (["one", "--methods", "hcl", "unremix", "--preset", "cifar"], "preset 'cifar'; there are: none"),
    ],
)  # fmt: skip
def test_mistakes_in_naming_methods_are_one_line(methods, monkeypatch, arguments, told):
    monkeypatch.chdir(methods)
    error = CliRunner().invoke(app, ["compare", *arguments]).exception
    assert isinstance(error, UserError) and told in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("option", ["--markdown", "--json", "--html", "--all"])
def test_a_worse_method_is_no_failure(methods, monkeypatch, option):
    monkeypatch.chdir(methods)
    result = CliRunner().invoke(app, ["compare", "--methods", "hcl", "unremix", option])
    assert result.exit_code == 0 and "unremix" in result.stdout, result.output


# How it is shown


def test_markdown_json_and_html_show_the_same_cells(history):
    comparison = compare_revisions("first", "second", "default", history)
    content = json.loads(as_json(comparison, True))
    assert content["outcomes"][WORSE] == 1 and len(content["cells"]) == 6
    assert "verdict" not in json.dumps(content)
    dcl = next(cell for cell in content["cells"] if cell["method"] == "dcl")
    means = [np.mean([row.value for row in seeds("dcl", rate)]) for rate in (0.7, 0.6)]
    assert (dcl["before"]["mean"], dcl["after"]["mean"]) == pytest.approx(means)
    assert dcl["difference"] == pytest.approx(means[1] - means[0]) and dcl["outcome"] == WORSE
    assert dcl["interval"][0] < dcl["difference"] < dcl["interval"][1]
    assert dcl["after"]["interval"][0] < dcl["after"]["mean"] < dcl["after"]["interval"][1]
    assert content["rows"]["probe"] == {"rows": 12, "other_parameters": 9, "other_code": 3}
    assert content["parameters"] == {"unremix.training.epochs": {"before": "12", "after": "20"}}
    markdown = as_markdown(comparison)
    unfolded, _, folded = markdown.partition("<details>")
    assert unfolded.count("\n| ") == 2 + len(comparison.shown(False)) and "pixels" not in unfolded
    assert folded.startswith("<summary>1 identical</summary>\n\n| ") and "pixels" in folded
    assert folded.endswith("</details>\n") and folded.count("\n| ") == 2 + 1
    html = as_html(comparison, False)
    assert html.count("<tr data-outcome=") == len(comparison.shown(False))
    assert as_html(comparison, True).count("<tr data-outcome=") == 6
    outside = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    assert not re.search(r"(src|href)=[\"'](?!data:)|@import|url\(", outside)


def test_names_are_whole_where_nobody_wraps(tmp_path, monkeypatch):
    folder = new_repository(tmp_path / "project")
    label, dataset = "unremix-" + "x" * 90, "mnist5k-to-digits"
    monkeypatch.chdir(folder)
    variant = {"method": "unremix", "settings": {"tau_plus": 0.2}}
    content = parameters(unremix__variants={label: variant}, unremix__ablation=[label])
    save(folder, seeds(label, 0.7, dataset=dataset, stage="transfer_probe"), content)
    commit(folder, "one")
    content["unremix"]["training"]["epochs"] = 3
    save(folder, seeds(label, 0.4, dataset=dataset, stage="transfer_probe"), content)
    result = CliRunner().invoke(app, ["compare", "one", "WORKTREE"])
    (line,) = [line for line in result.stdout.splitlines() if label in line]
    assert WORSE in line and f"unremix {dataset} {label} linear top-1 %" in line and "parameters" in line


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
    clone = cloned(history, tmp_path / "clone")
    for seed, detail in enumerate(({"failed_checks": 5}, {"draws": 7})):
        path = clone / path_of(row("unremix", seed))
        path.write_text(json.dumps(json.loads(path.read_text()) | {"detail": detail}))
    comparison = compare_revisions("third", "WORKTREE", "default", clone)
    assert len(comparison.problems) == 2 and all("Input should be a valid list" in line for line in comparison.problems)


def test_outside_a_repository_is_one_line(tmp_path):
    with pytest.raises(UserError, match="not a git repository"):
        compare_revisions("HEAD", "HEAD", "default", tmp_path)


LONG = "swaro-k10-failing-clean-" + "x" * 40


def wide_comparison(history: Path) -> Comparison:
    """That of two commits with the longest names that the suite knows."""
    comparison = compare_revisions("first", "second", "default", history)
    longest = row(
        LONG, track="uamix", dataset="speechcommands-test-to-speechcommands-esc50", base="swaro",
        protocol="few-shot-5-way-20-shot-centroid", metric="median-distance",
    )  # fmt: skip
    (cell,) = (change.after for change in compare_rows_of(loaded([]), loaded([longest]), {}))
    why = "parameters of the protocol changed: swaro.robustness.budgets.mnist5k.carlini_wagner_step, and a dozen more"
    assert cell is not None
    comparison.changes.insert(0, Change(cell.key, cell, cell, NOT_COMPARABLE, -0.123, (-0.456, 0.789), 0.999, why))
    return comparison


def test_the_page_in_a_real_browser(history, tmp_path):
    """It opens offline, fits its width, sorts by a click, filters by words and by outcome."""
    file = tmp_path / "compare.html"
    file.write_text(as_html(wide_comparison(history), True))
    methods = "return [...document.querySelectorAll('tbody tr')].filter(r => !r.hidden).map(r => r.cells[3].innerText)"
    click = "document.querySelectorAll('thead button')[{}].click()"
    with Browser(tmp_path / "profile") as browser:
        browser.devtools("Network.enable")
        browser.devtools(
            "Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0
        )
        browser.size(1280, 900)
        browser.open(file)
        for width in (1280, 1201, 1000, 390):
            browser.size(width, 900)
            assert browser.run("return document.documentElement.scrollWidth") <= width
            lost = browser.run(
                "return [...document.querySelectorAll('td, th')].filter(c => c.scrollWidth > c.clientWidth + 1 || "
                "c.getBoundingClientRect().right > innerWidth).map(c => c.innerText)"
            )
            assert lost == [], width
            browser.screenshot(Path(os.environ.get("CONTRASTBENCH_SCREENSHOTS", tmp_path)) / f"compare-{width}.png")
        browser.size(1280, 900)
        given = browser.run(methods)
        assert given[1:] == ["dcl", "swaro", "simclr", "unremix", "hcl", "pixels"]
        browser.run(click.format(3))
        assert browser.run(methods) == sorted(given)
        browser.run(click.format(3))
        assert browser.run(methods) == sorted(given, reverse=True)
        browser.run(click.format(8))  # difference
        assert browser.run(methods)[:3] == [LONG, "swaro", "dcl"]  # medians relative to what they were
        browser.run(click.format(0))
        assert browser.run(methods)[0] == "dcl" and browser.run(methods)[-1] == "pixels"
        search = "const box = document.querySelector('[type=search]'); box.value = '{}'; " \
            "box.dispatchEvent(new Event('input', {{bubbles: true}}))"  # fmt: skip
        browser.run(search.format("UNREMIX linear"))
        assert set(browser.run(methods)) == {"dcl", "simclr", "unremix", "hcl", "pixels"}
        browser.run(f"document.querySelector('[value=\"{IDENTICAL}\"]').click()")
        assert set(browser.run(methods)) == {"dcl", "simclr", "unremix", "hcl"}
        assert browser.run("return document.querySelector('output').value") == "4 of 7 cells shown"
        browser.run(search.format("no such"))
        assert browser.run(methods) == []
        assert browser.messages() == []
