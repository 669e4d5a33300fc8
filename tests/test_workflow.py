"""The recipe for pull requests: its commands exist, and what it does between two runs it does."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY
from reporting_rows import row, verdicts, write
from test_docs import wrong_commands

RECIPE = yaml.safe_load((REPOSITORY / ".github/workflows/contrastbench.yml").read_text(encoding="utf-8"))
STEPS = {step.get("name", step.get("uses")): step for step in RECIPE["jobs"]["compare"]["steps"]}
GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@b.c")


def test_its_token_may_write_comments_and_no_more():
    assert RECIPE["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert RECIPE[True] == "pull_request", "YAML takes `on` for a truth; a request from a fork gets no secrets"
    assert "head.repo.full_name == github.repository" in STEPS["Comment"]["if"]
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"]) for step in STEPS.values() if "uses" in step)


def test_its_commands_could_be_typed():
    lines = [line for step in STEPS.values() for line in step.get("run", "").splitlines()]
    commands = re.findall(r"\b(?:contrastbench|snakemake|make) [^>|&()\n]+", "\n".join(lines))
    assert [command.split()[0] for command in commands] == ["make", "snakemake", "snakemake", "contrastbench"]
    assert wrong_commands("".join(f"    {command}\n" for command in commands)) == []
    assert (REPOSITORY / "presets" / f"{RECIPE['env']['PRESET']}.yaml").is_file()


@pytest.fixture
def request_of_a_change(tmp_path: Path) -> dict[str, str]:
    """The environment of a pull request's run in ``tmp_path/work``; what ``gh`` is asked for is in ``asked``."""
    origin, work, programs = tmp_path / "origin", tmp_path / "work", tmp_path / "bin"
    for folder in (origin, programs):
        folder.mkdir()
    (programs / "gh").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\ncp comment.md {tmp_path}/posted.md\n')
    (programs / "gh").chmod(0o755)
    (origin / ".gitignore").write_text("results/*/smoke/\n")
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "base"]):
        subprocess.run([*GIT, *command], cwd=origin, check=True)
    subprocess.run(["git", "clone", "-q", origin, work], check=True)
    subprocess.run([*GIT, "commit", "-q", "--allow-empty", "-m", "change"], cwd=work, check=True)
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    outputs = {name: str(tmp_path / name.lower()) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    return os.environ | outputs | RECIPE["env"] | {"PATH": path, "GITHUB_BASE_REF": "main", "NUMBER": "7"}


def test_what_got_worse_is_posted(tmp_path: Path, request_of_a_change: dict[str, str]):
    """The rows of both sides are there, as the cache and Snakemake would leave them."""
    work = tmp_path / "work"
    for name in ("Check out the base", "Run the base", "Compare", "Comment"):
        if name == "Run the base":
            write(tmp_path, [row(preset="smoke", seed=seed, correct=verdicts(0.8, seed=seed)) for seed in (0, 1)])
            (tmp_path / "results/rows/smoke").rename(work / "base-rows")
            write(work, [row(preset="smoke", seed=seed, correct=verdicts(0.4, seed=seed)) for seed in (0, 1)])
        subprocess.run(
            ["bash", "-eo", "pipefail", "-c", STEPS[name]["run"]], cwd=work, env=request_of_a_change, check=True
        )
    assert (tmp_path / "asked").read_text() == "pr comment 7 --edit-last --create-if-none --body-file comment.md\n"
    posted = (tmp_path / "posted.md").read_text(encoding="utf-8")
    assert posted.startswith("## base (") and "1 cells: 1 worse" in posted and "| worse | unremix |" in posted
    assert (tmp_path / "github_step_summary").read_text(encoding="utf-8") == posted
    commit = subprocess.run(["git", "rev-parse", "origin/main"], cwd=work, capture_output=True, text=True, check=True)
    assert (tmp_path / "github_output").read_text() == f"commit={commit.stdout}"
