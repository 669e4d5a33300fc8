"""Nothing is lost: not by ``restore``, not by a kill, not through a link, not in a folder with spaces in its name.

The tests run the real pipeline, small, in a copy of the project whose path holds spaces and an apostrophe.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY
from project_copy import Project
from test_pipeline import SIMCLR_JOB, small_parameters

TRAINED = "runs/default/pretrain/unremix/digits/simclr/0"
ROW = "results/rows/default/probe/unremix/digits/pixels/all.jsonl"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that Snakemake has run and DVC has recorded."""
    folder = tmp_path_factory.mktemp("project") / "it's a project"
    folder.mkdir()
    project, content = Project(folder), small_parameters()
    content["unremix"] |= {"methods": ["pixels", "simclr"]}
    (folder / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    project.run("git", "init", "-q", "-b", "main")
    project.run("dvc", "init", "-q")
    project.run("contrastbench", "dvc-file")
    project.snakemake()
    project.run("contrastbench", "record")
    project.commit("recorded")
    return project


@pytest.fixture
def project(recorded: Project) -> Project:
    """The recorded project, brought back to its recorded state afterwards."""
    yield recorded
    recorded.run("git", "reset", "-q", "--hard", "main")
    recorded.run("contrastbench", "restore", "--force")


def state(project: Project) -> dict[str, str]:
    """Every output's content, by its path."""
    files = [path for name in ("data/prepared", "runs", "results") for path in (project.folder / name).rglob("*.*")]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.is_file()}


def last_line(answer: str) -> str:
    return answer.strip().splitlines()[-1]


def test_restore_without_a_cache_touches_nothing(project: Project) -> None:
    cache, aside = project.folder / ".dvc/cache", project.folder / ".dvc/aside"
    cache.rename(aside)
    (project.folder / TRAINED / "run.json").write_text(
        "{}"
    )  # as after `make reproduce` in a clone: not what is recorded
    before = state(project)
    try:
        for options in ((), ("--force",)):
            answer = last_line(project.run("contrastbench", "restore", *options, code=2))
            assert answer.startswith("contrastbench: not restored, nothing touched: DVC's cache lacks ")
            assert "`dvc pull`" in answer and "`snakemake --cores all`" in answer
            assert state(project) == before
    finally:
        shutil.rmtree(cache, ignore_errors=True)
        aside.rename(cache)


@pytest.mark.parametrize("folders", [True, False])
def test_restore_names_the_one_file_that_the_cache_lacks(project: Project, folders: bool) -> None:
    cache = project.folder / ".dvc/cache/files/md5"
    weights = hashlib.md5((project.folder / TRAINED / "model.safetensors").read_bytes()).hexdigest()
    lost = cache / weights[:2] / weights[2:]
    if folders:
        (lost,) = [path for path in cache.rglob("*.dir") if weights in path.read_text()]
    shutil.rmtree(project.folder / TRAINED)
    before = state(project)
    aside = lost.rename(project.folder / ".dvc/aside")
    try:
        answer = last_line(project.run("contrastbench", "restore", "--force", code=2))
        path = str(Path(TRAINED).parent) + "/" if folders else f"{TRAINED}/model.safetensors"
        assert f"cache lacks {path};" in answer and state(project) == before
    finally:
        aside.rename(lost)


def test_restore_loses_no_output_that_was_never_recorded(project: Project) -> None:
    (project.folder / TRAINED / "history.csv").write_text("other\n")
    (project.folder / TRAINED / "of my own.txt").write_text("mine\n")
    (project.folder / ROW).write_text("{}\n")
    (project.folder / "data/prepared/digits/test_x.npy").unlink()
    before = state(project)
    answer = last_line(project.run("contrastbench", "restore", code=2))
    assert answer.startswith("contrastbench: not restored: nothing touched, because no commit records ")
    assert " and 1 more file as on disk" in answer and "restore --force" in answer and state(project) == before
    answer = last_line(project.run("contrastbench", "restore", "--force", code=2))
    assert "DVC sees changes in probe-unremix" in answer, "rows belong to git"
    assert (project.folder / ROW).read_text() == "{}\n" and not (project.folder / TRAINED / "of my own.txt").exists()


def test_restore_refuses_a_step_that_was_never_recorded(project: Project) -> None:
    """DVC would delete its outputs."""
    project.edit("dvc.lock", "  pretrain-unremix:", "  pretrain-other:")
    before = state(project)
    answer = last_line(project.run("contrastbench", "restore", "--force", code=2))
    assert "dvc.lock of this commit records no pretrain-unremix" in answer and state(project) == before


def test_an_output_that_is_gone_is_not_recorded_as_such(project: Project) -> None:
    """Snakemake misses none whose readers are done."""
    lock = (project.folder / "dvc.lock").read_bytes()
    (project.folder / TRAINED / "model.safetensors").unlink()
    answer = last_line(project.run("contrastbench", "record", code=2))
    assert answer == f"contrastbench: nothing recorded: {TRAINED}/model.safetensors missing; run `dvc repro`"
    assert (project.folder / "dvc.lock").read_bytes() == lock


def test_a_kill_between_write_and_rename_is_not_recorded(project: Project) -> None:
    lock = (project.folder / "dvc.lock").read_bytes()
    code = (
        "import os, signal, sys; from contrastbench import files, cli; "
        "files._flush = lambda path: os.kill(os.getpid(), signal.SIGKILL); "
        f"sys.argv = {['contrastbench', 'features', *SIMCLR_JOB]}; cli.main()"
    )
    project.run(sys.executable, "-c", code, code=-signal.SIGKILL)
    folder = project.folder / "runs/default/features/unremix/digits/simclr/0"
    (left,) = folder.glob(".unfinished-*")
    assert project.stale_steps() == set() and not project.run("git", "status", "--short", "--", "runs", "results")
    project.run("contrastbench", "record")
    assert (project.folder / "dvc.lock").read_bytes() == lock and left.is_dir()
    os.utime(left, (time.time() - 3600,) * 2)
    project.run("contrastbench", "record")
    assert (project.folder / "dvc.lock").read_bytes() == lock and not left.exists()


@pytest.mark.parametrize("kind", ["symlink", "hardlink"])
def test_outputs_that_are_links_are_replaced_and_the_cache_stays(project: Project, kind: str) -> None:
    project.run("dvc", "config", "--local", "cache.type", kind)
    try:
        shutil.rmtree(project.folder / "runs/default/pretrain")
        project.run("contrastbench", "restore")
        weights = project.folder / TRAINED / "model.safetensors"
        assert weights.is_symlink() if kind == "symlink" else weights.stat().st_nlink == 2
        assert project.stale_jobs() == Counter() and project.stale_steps() == set()
        project.edit("params.yaml", "    epochs: 1", "    epochs: 2")
        project.snakemake()
        assert not weights.is_symlink() and weights.stat().st_nlink == 1
        for path in (project.folder / ".dvc/cache/files/md5").rglob("*"):
            if path.is_file():
                name = (path.parent.name + path.name).removesuffix(".dir")
                assert hashlib.md5(path.read_bytes()).hexdigest() == name
        project.run("contrastbench", "record")
        assert weights.is_symlink() if kind == "symlink" else weights.stat().st_nlink == 2
        assert project.stale_jobs() == Counter(), "recording has made links of another date, with the same contents"
    finally:
        project.run("dvc", "config", "--local", "--unset", "cache.type")


def test_data_dated_in_the_future_fail_no_training(project: Project) -> None:
    meta = project.folder / "data/prepared/digits/meta.json"
    os.utime(meta, (time.time() + 86400,) * 2)
    assert project.stale_jobs() == Counter()
    os.utime(meta, (time.time() + 86400,) * 2)
    project.edit("params.yaml", "    epochs: 1", "    epochs: 2")
    project.snakemake()
    assert project.stale_jobs() == Counter()


def killed(project: Project, *command: str) -> None:
    """Run a command until its training has begun, then kill it and all that it has started, without warning."""
    process = subprocess.Popen(
        command, cwd=project.folder, env=project.environment, start_new_session=True, stdout=subprocess.DEVNULL
    )
    for _ in range(600):
        if (project.folder / "runs/default/checkpoints/unremix/digits/simclr/0").is_dir():
            break
        assert process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert any((project.folder / ".snakemake/locks").iterdir())


def test_after_a_kill_each_command_goes_on(project: Project) -> None:
    checkpoints = project.folder / "runs/default/checkpoints"
    shutil.rmtree(checkpoints, ignore_errors=True)
    project.edit("params.yaml", "    epochs: 1", "    epochs: 9")
    project.edit("params.yaml", "checkpoint_every_steps: ", "checkpoint_every_steps: 1 # ")
    killed(project, "contrastbench", "run", "pretrain-unremix")
    locks = shutil.copytree(project.folder / ".snakemake/locks", project.folder / ".dvc/tmp/locks")
    said = "contrastbench: cleared the lock of a run that was killed"
    assert said in project.run("contrastbench", "run", "pretrain-unremix")
    shutil.copytree(locks, project.folder / ".snakemake/locks", dirs_exist_ok=True)
    assert said in project.run("make", "-f", REPOSITORY / "Makefile", "-o", "install", "reproduce", code=2)
    assert project.stale_jobs() == Counter(), "all but the comparison with rows that nobody has committed"
    project.edit("params.yaml", "    epochs: 9", "    epochs: 8")
    shutil.rmtree(checkpoints)
    killed(project, "dvc", "repro", "pretrain-unremix")
    assert said in project.run("dvc", "repro", "pretrain-unremix")
    assert project.stale_jobs()["pretrain"] == 0 and "pretrain-unremix" not in project.stale_steps()


PYTHON = """#!/bin/sh
if [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; cp "$0" "$3/bin/snakemake"; fi
echo "$0 $@"
"""


def test_make_works_in_a_folder_with_spaces_and_a_quote_in_its_name(tmp_path: Path) -> None:
    """Up to the programs that it calls, for which a script stands in."""
    folder = tmp_path / "it's a folder"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, folder)
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    command = ["make", "--no-print-directory", "smoke", f"PYTHON={tmp_path / 'python'}"]
    done = subprocess.run(command, cwd=folder, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    ran = done.stdout.splitlines()
    assert ".venv/bin/python -m pip install --quiet --editable .[dev]" in ran
    assert ran[-1] == f"{folder}/.venv/bin/snakemake --cores all --config preset=smoke"
    done = subprocess.run(command, cwd=folder, text=True, capture_output=True)
    assert done.returncode == 0 and "pip" not in done.stdout, "installed once"
