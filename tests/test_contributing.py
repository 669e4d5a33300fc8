"""CONTRIBUTING.md does what it says: its code blocks, put where it puts them, add a method and a protocol that run.

The part on code that needs no change of the package is tests/test_wheel.py's.
"""

import json
import re
import shutil
from pathlib import Path

import pytest
from conftest import REPOSITORY
from project_copy import Project

from contrastbench.datasets.store import open_prepared
from contrastbench.results.rows import unpack_correct

OUTSIDE, GUIDE = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8").split("# Into the package\n")
NAMED_BLOCK = re.compile(
    r"^`([^`\n]+)`, (?:a new file|(below|above) the line `([^\n]+)`):\n\n```\w+\n(.*?)^```$", re.M | re.S
)
TRACK, DATASET, METHOD, PRESET = "unremix", "digits", "align-uniform", "mine"


def rows_of(project: Project, preset: str = PRESET) -> list[dict]:
    """The lines of a project's files of rows; its own protocols are known to its own code alone."""
    files = sorted((project.folder / "results" / "rows" / preset).rglob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def commands() -> list[list[str]]:
    """The guide's steps, in its one block of shell commands."""
    (block,) = re.findall(r"^```sh\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    return [line.split() for line in block.splitlines()]


def apply_blocks(guide: str, folder: Path) -> list[str]:
    """Write or insert every named block of the guide; returns the files that are new."""
    new = []
    for name, side, anchor, block in NAMED_BLOCK.findall(guide):
        path = folder / name
        if not side:
            assert not path.exists(), f"{name} is no new file"
            path.parent.mkdir(exist_ok=True)
            path.write_text(block, encoding="utf-8")
            new.append(name)
            continue
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        (position,) = [number for number, line in enumerate(lines) if line.strip() == anchor]
        blank = "\n\n" if block.startswith(("class ", "def ")) else ""  # two empty lines around each, as everywhere
        lines.insert(position + (side == "below"), block + blank)
        path.write_text("".join(lines), encoding="utf-8")
    return new


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the project in which the guide was followed, up to the commands."""
    project = Project(tmp_path_factory.mktemp("contributing"))
    shutil.copytree(REPOSITORY / "tests", project.folder / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    new = apply_blocks(GUIDE, project.folder)
    assert len(new) == 5 and len(NAMED_BLOCK.findall(GUIDE)) == 16
    return project


@pytest.fixture(scope="module")
def finished(project: Project) -> Project:
    """The same, after the guide's commands."""
    for command in commands():
        project.run(*command)
    return project


@pytest.mark.parametrize("guide", [OUTSIDE, GUIDE], ids=["outside", "inside"])
def test_every_named_block_is_applied(guide):
    """A block whose heading the pattern above does not read would go untested."""
    fences = re.findall(r"^```(?:python|yaml|text)$", guide, re.MULTILINE)
    assert len(fences) == len(NAMED_BLOCK.findall(guide))


def test_the_rows_are_there_and_sane(finished):
    rows = rows_of(finished)
    assert {row["protocol"]["family"] for row in rows} == {"linear", "knn", "low-label", "nearest-mean"}
    data_hash = open_prepared(finished.folder / "data" / "prepared" / DATASET).meta.hash
    for row in rows:
        named = [row[key] for key in ("track", "dataset", "method", "preset", "seed", "data_hash")]
        assert named == [TRACK, DATASET, METHOD, PRESET, 0, data_hash]
        assert unpack_correct(row["correct"], row["n"]).mean() == pytest.approx(row["value"])
    value = {row["protocol"]["family"]: row["value"] for row in rows}
    assert value["linear"] >= 0.7 and value["knn"] >= 0.7 and value["nearest-mean"] >= 0.5


def test_training_has_lowered_the_loss(finished):
    history = finished.folder / "runs" / PRESET / "pretrain" / TRACK / DATASET / METHOD / "0" / "history.csv"
    header, *entries = history.read_text().splitlines()
    losses = [float(line.split(",")[header.split(",").index("loss")]) for line in entries]
    assert losses[-1] < losses[0] - 0.3


def test_the_methods_own_test_and_the_linter_pass(project):
    shutil.copy(REPOSITORY / "pyproject.toml", project.folder)
    tests = [f"tests/test_{name}.py" for name in ("align_uniform", "method_wiring", "mutants")]
    chosen = "align_uniform or align-uniform or every_method_is_compared or names_and_reasons or every_room"
    answer = project.run("python", "-m", "pytest", *tests, "-k", chosen)
    assert "12 passed" in answer  # seven of its own, one step, one mutant, and what each method must have
    project.run("ruff", "check", "src", "tests")
    project.run("ruff", "format", "--check", "src", "tests")


def test_the_table_shows_the_method(finished):
    finished.run("contrastbench", "tables", "--preset", PRESET)
    table = (finished.folder / "results" / "tables" / PRESET / f"{TRACK}.md").read_text(encoding="utf-8")
    assert METHOD in table and DATASET in table


def test_the_protocol_has_a_table_a_command_and_makes_cells_incomparable(finished):
    finished.run("contrastbench", "tables", "--preset", PRESET)
    table = (finished.folder / "results" / "tables" / PRESET / f"{TRACK}.md").read_text(encoding="utf-8")
    assert "Nearest class mean" in table and "nearest-mean<br>top-1 %, n = 400" in table
    assert "nearest-mean" in finished.run("contrastbench", "list")
    finished.run("git", "init", "-q", "-b", "main")
    finished.commit("before")
    finished.edit(f"presets/{PRESET}.yaml", "unit_length: true", "unit_length: false")
    finished.run("contrastbench", "nearest-mean", TRACK, DATASET, METHOD, "0", "--preset", PRESET)
    said = finished.run("contrastbench", "compare", "HEAD", "WORKTREE", "--preset", PRESET, "--all", "--json")
    (cell,) = [cell for cell in json.loads(said)["cells"] if cell["protocol"] == "nearest-mean"]
    assert "unit_length" in cell["why"] or cell["before"]["mean"] == cell["after"]["mean"]


def test_snakemake_runs_what_is_missing(finished):
    assert "pretrain" in finished.run("contrastbench", "plan", "--preset", PRESET)
    mine = ("--config", f"preset={PRESET}")
    stale = finished.stale_jobs(*mine)
    assert (stale["prepare"], stale["pretrain"]) == (0, 2)
    assert (stale["features"], stale["judge"]) == (3, 10), "each protocol judges each method, and one is contrastive"


def test_in_the_default_run_dvc_has_a_step_for_it(project):
    project.edit("params.yaml", "hcl, unremix]", f"hcl, unremix, {METHOD}]")
    assert "written" in project.run("contrastbench", "dvc-file")
    text = (project.folder / "dvc.yaml").read_text(encoding="utf-8")
    assert "unremix.settings.align_uniform" in text and f"runs/default/pretrain/unremix/mnist5k/{METHOD}" in text
