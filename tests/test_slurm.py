"""Slurm: what it is asked before a run, and a run through a real one where there is one."""

import importlib.util
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from project_copy import Project
from safetensors.numpy import load_file

from contrastbench.errors import UserError
from contrastbench.pipeline.slurm import check_slurm

JOBS = [
    {"mem_mb": 1500, "runtime": 20, "slurm_partition": "gpu", "slurm_account": "p1", "gpu": 1},
    {"mem_mb": 6000, "runtime": 10, "slurm_partition": "gpu", "slurm_account": "p1"},
    {"mem_mb": 1000, "runtime": 5},
]


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for ``sbatch``, which knows the partition ``gpu``; the file that it keeps its arguments in."""
    (tmp_path / "sbatch").write_text(
        f"#!/bin/sh\necho $* >> {tmp_path}/asked\n"
        "case $* in *partition=gpu*) exit 0;; esac\n"
        "echo 'sbatch: error: no default partition' >&2\n"
        "echo 'allocation failure: No partition specified' >&2\n"
        "exit 1\n"
    )
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "asked"


def test_slurm_is_asked_for_the_most_that_jobs_of_a_partition_need(sbatch):
    check_slurm(JOBS[:2])
    wanted = "--test-only --partition=gpu --account=p1 --mem=6000 --time=20 --gpus=1 --wrap true"
    assert sbatch.read_text().splitlines() == [wanted]
    check_slurm([])
    assert len(sbatch.read_text().splitlines()) == 1


def test_a_profile_without_a_partition_is_one_line_where_one_is_needed(sbatch):
    with pytest.raises(UserError) as refused:
        check_slurm(JOBS)
    assert str(refused.value) == (
        "Slurm refuses jobs with --mem=1000 --time=5 (sbatch: error: no default partition; allocation failure: "
        "No partition specified); put a partition and an account of yours that take them into "
        "profiles/slurm/config.yaml"
    )


def answers(*command: str) -> bool:
    """Whether a command is there and succeeds."""
    return shutil.which(command[0]) is not None and not subprocess.run(command, capture_output=True).returncode


REASON = (
    "no cluster answers `sinfo`"
    if not answers("sinfo")
    else "the extra `cluster` is not installed"
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None
    else ""
)
EPOCHS, STEPS = 5, 95  # of a second each; Slurm looks every half minute and ends the job after 50 to 80 of them


@pytest.mark.slurm
@pytest.mark.skipif(bool(REASON), reason=REASON)
def test_a_job_continues_after_preemption_and_after_its_time_limit(tmp_path: Path) -> None:
    """Its training sleeps at each step, so that it takes longer than the minute that Slurm gives it."""
    project = Project(tmp_path)
    preset = yaml.safe_load((tmp_path / "presets/smoke.yaml").read_text(encoding="utf-8"))
    preset["unremix"]["training"] |= {"epochs": EPOCHS, "checkpoint_every_steps": 1}
    (tmp_path / "presets/slow.yaml").write_text(yaml.safe_dump(preset), encoding="utf-8")
    code = (tmp_path / "src/contrastbench/training/checkpoint.py", "    write_bytes(path, content.getbuffer())\n")
    slow = '    print(state["step"], file=open("steps", "a"))\n    __import__("time").sleep(1)\n'
    project.edit(str(code[0]), code[1], code[1] + slow)

    weights = tmp_path / "runs/slow/pretrain/unremix/digits/simclr/0/model.safetensors"
    rows = "results/rows/slow/probe/unremix/digits/simclr/all.jsonl"
    command = ["snakemake", "--profile", "profiles/slurm", "--config", "preset=slow", "--retries", "5"]
    command += ["--set-resources", "pretrain:runtime=1", "--slurm-init-seconds-before-status-checks", "5"]
    command += ["--slurm-status-command", "squeue", "--slurm-no-account", "--", rows]
    with (tmp_path / "log").open("w", encoding="utf-8") as log:
        run = subprocess.Popen(command, cwd=tmp_path, env=project.environment, stdout=log, stderr=log)
    try:
        preempted = first_job(tmp_path / "log")
        wait_for(lambda: len(steps(tmp_path)) > 2)
        subprocess.run(["scontrol", "requeue", preempted], check=True)
        wait_for(lambda: state(preempted) == "PENDING")
        subprocess.run(["scontrol", "update", f"JobId={preempted}", "StartTime=now"], check=True)  # not in two minutes
        assert run.wait() == 0, (tmp_path / "log").read_text(encoding="utf-8")
    finally:
        run.terminate()
    log_text = (tmp_path / "log").read_text(encoding="utf-8")
    assert "SLURM status is: 'TIMEOUT'" in log_text and "Trying to restart job" in log_text
    assert (tmp_path / rows).is_file()
    counted = steps(tmp_path)
    assert counted == list(range(1, STEPS)), "no step was trained twice over, and the last needs no checkpoint"

    through_slurm = load_file(weights)
    weights.unlink()
    project.edit(str(code[0]), slow, "")
    project.run("contrastbench", "pretrain", "unremix", "digits", "simclr", "0", "--preset", "slow")
    at_once = load_file(weights)
    assert through_slurm.keys() == at_once.keys()
    assert all((through_slurm[name] == at_once[name]).all() for name in at_once)


def steps(folder: Path) -> list[int]:
    """The steps after which a checkpoint was written, in the order of writing."""
    path = folder / "steps"
    return [int(line) for line in path.read_text(encoding="utf-8").split()] if path.is_file() else []


def state(job: str) -> str:
    command = ["squeue", "--noheader", "--format=%T", "--jobs", job]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def first_job(log: Path) -> str:
    """Slurm's number of the first job that was submitted."""
    wait_for(lambda: "has been submitted with SLURM jobid" in log.read_text(encoding="utf-8"))
    return re.findall(r"SLURM jobid (\d+)", log.read_text(encoding="utf-8"))[0]


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("not within two minutes")
