"""The lock of a killed Snakemake is cleared, a living one's never; a real Snakemake runs a one-rule workflow."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from contrastbench.pipeline import lock

SNAKEFILE = """
from contrastbench.pipeline.lock import hold_folder
if workflow.is_main_process:
    hold_folder()
rule all:
    input: config.get("target", "made")
rule make:
    output: "{name}"
    shell: "while [ -e {output}.held ]; do sleep 0.1; done; touch {output}"
"""
SAID = "contrastbench: cleared the lock of a run that was killed"
REFUSED = "cannot be locked"


@pytest.fixture
def snakemake(tmp_path, repository) -> Callable[..., subprocess.Popen[str]]:
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / ".snakemake").mkdir()
    environment = os.environ | {"PYTHONPATH": str(repository / "src")}
    program = Path(sys.executable).parent / "snakemake"
    started = []

    def start(*options: str, target: str = "made") -> subprocess.Popen[str]:
        command = [program, "--cores", "1", *options, "--config", f"target={target}"]
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        started.append(subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True, **pipe))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def said(process: subprocess.Popen[str], code: int = 0) -> str:
    output = process.communicate()[0]
    assert process.returncode == code, output
    return output


def at_work(folder: Path, runs: int = 1) -> list[Path]:
    """Snakemake's lock files, once all runs have made them and their jobs have begun."""
    for _ in range(1200):
        locks = list((folder / lock.SNAKEMAKES).glob("*.lock"))
        if len(locks) == 2 * runs == 2 * len(list((folder / ".snakemake/incomplete").glob("*"))):
            return locks
        time.sleep(0.1)
    raise AssertionError("no run has started")


def hold(folder: Path, target: str = "made") -> Path:
    """The job that makes ``target`` ends once this file is gone."""
    held = folder / f"{target}.held"
    held.touch()
    return held


def kill_one(snakemake: Callable[..., subprocess.Popen[str]], folder: Path, runs: int = 1) -> None:
    """Start a run, and kill it at work."""
    held = hold(folder)
    process = snakemake()
    at_work(folder, runs)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    held.unlink()
    assert list((folder / lock.SNAKEMAKES).glob("*.lock"))


def test_the_lock_of_a_killed_run_is_cleared(tmp_path, snakemake):
    kill_one(snakemake, tmp_path)
    answer = said(snakemake())
    assert SAID in answer and (tmp_path / "made").exists()
    assert SAID not in said(snakemake("--forceall"))


def test_the_lock_of_a_living_run_is_left_alone(tmp_path, snakemake):
    held, living = hold(tmp_path), snakemake()
    locks = at_work(tmp_path)
    assert SAID not in said(snakemake("--dry-run"))
    answer = said(snakemake(), code=1)
    assert REFUSED in answer and "--unlock" in answer and SAID not in answer
    assert all(path.exists() for path in locks)
    held.unlink()
    said(living)
    assert (tmp_path / "made").exists()


def test_a_living_run_keeps_the_lock_that_a_killed_one_beside_it_left(tmp_path, snakemake):
    held, living = hold(tmp_path, "other"), snakemake(target="other")
    at_work(tmp_path)
    kill_one(snakemake, tmp_path, runs=2)
    assert SAID not in said(snakemake(), code=1)
    held.unlink()
    said(living)


def test_a_lock_of_another_machine_is_not_cleared_but_told_of(tmp_path, snakemake):
    kill_one(snakemake, tmp_path)
    (tmp_path / lock.OURS).write_text("elsewhere")
    for _ in range(2):
        answer = said(snakemake(), code=1)
        line = (
            f"contrastbench: {lock.SNAKEMAKES}: left by a run on elsewhere; if it has ended, run `snakemake --unlock`"
        )
        assert line in answer.splitlines() and REFUSED in answer
    said(snakemake("--unlock"))
    said(snakemake())
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_leaves_the_matter_to_snakemake(tmp_path, monkeypatch, number):
    (tmp_path / lock.SNAKEMAKES).mkdir(parents=True)
    (tmp_path / lock.SNAKEMAKES / "0.output.lock").write_text("made\n")

    def no_locks(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lock.fcntl, "flock", no_locks)
    lock.hold_folder(tmp_path)
    assert (tmp_path / lock.SNAKEMAKES / "0.output.lock").exists()


def test_a_folder_that_cannot_be_written_is_left_to_snakemake(tmp_path):
    (tmp_path / ".snakemake").write_text("no folder")
    lock.hold_folder(tmp_path)
