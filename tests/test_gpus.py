"""Jobs claim GPUs: real processes, on a machine whose ``nvidia-smi`` is a script that names four."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contrastbench.errors import UserError
from contrastbench.pipeline import begin, device
from contrastbench.pipeline.gpus import CLAIMED, VISIBLE, visible_gpus

GPUS = [f"GPU-{number}a2b3c4d-0000-1111-2222-333344445555" for number in range(4)]
LISTING = "".join(f"GPU {number}: NVIDIA H100 80GB HBM3 (UUID: {gpu})\n" for number, gpu in enumerate(GPUS))
CLAIM = """
import json, os, sys
from contrastbench.errors import UserError
from contrastbench.pipeline.gpus import claim_gpus
try:
    claim_gpus(int(sys.argv[1]))
    print(json.dumps([os.environ.get("CUDA_VISIBLE_DEVICES"), "torch" in sys.modules]), flush=True)
except UserError as error:
    sys.exit(str(error))
sys.stdin.read()
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of four GPUs, on which nothing is claimed."""
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\ncat <<'END'\n{LISTING}END\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for name in (VISIBLE, CLAIMED):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def claim(machine: Path, repository: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a process that claims GPUs and then waits."""
    started = []

    def start(count: int = 1, **environment: str) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        around = os.environ | {"PYTHONPATH": str(repository / "src")} | environment
        started.append(subprocess.Popen([sys.executable, "-c", CLAIM, str(count)], env=around, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def seen(process: subprocess.Popen[str]) -> str | None:
    """What a claimant sees of the GPUs; it has not loaded torch yet."""
    assert process.stdout is not None
    visible, has_torch = json.loads(process.stdout.readline())
    assert not has_torch
    return visible


def refused(process: subprocess.Popen[str]) -> str:
    _, line = process.communicate()
    assert process.returncode == 1
    return line.strip()


def test_four_jobs_at_once_have_four_gpus_and_a_killed_one_leaves_its_own(claim):
    jobs = [claim() for _ in GPUS]
    claimed = [seen(job) for job in jobs]
    assert sorted(claimed) == GPUS
    line = "1 GPU needed, 0 of 4 free: other jobs have claimed the rest; wait until they have ended"
    assert refused(claim()) == line
    jobs[2].send_signal(signal.SIGKILL)
    jobs[2].wait()
    assert seen(claim()) == claimed[2]


def test_a_job_claims_among_the_gpus_that_it_was_given(claim):
    """By Slurm, or by the user: in their order, by number, UUID or the beginning of one."""
    given = f"3, {GPUS[1]},GPU-0a2"
    assert [seen(claim(CUDA_VISIBLE_DEVICES=given)) for _ in range(3)] == [GPUS[3], GPUS[1], GPUS[0]]
    assert refused(claim(CUDA_VISIBLE_DEVICES=given)).startswith("1 GPU needed, 0 of 3 free")
    assert seen(claim()) == GPUS[2]


def test_a_job_of_several_gpus_has_all_or_none(claim):
    assert seen(claim(3)) == ",".join(GPUS[:3])
    assert refused(claim(2)).startswith("2 GPUs needed, 1 of 4 free")
    assert refused(claim(5)) == "5 GPUs needed: there are no more than 4 visible here"
    assert seen(claim()) == GPUS[3]


def test_what_a_claimant_starts_shares_its_gpus(claim):
    mine = seen(claim(2))
    assert seen(claim(2, CUDA_VISIBLE_DEVICES=mine, CONTRASTBENCH_GPUS=mine)) == mine


def test_the_lock_of_another_user_can_be_taken_once_it_is_free(machine, claim):
    """Its file is neither writable nor one's own."""
    for gpu in GPUS:
        path = machine / f"contrastbench-{gpu}.lock"
        path.touch()
        path.chmod(0o444)
    assert seen(claim()) == GPUS[0]


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ("7", "CUDA_VISIBLE_DEVICES=7: no GPU 7 here; there are 4, from 0 on"),
        ("0,4", "CUDA_VISIBLE_DEVICES=0,4: no GPU 4 here; there are 4, from 0 on"),
        ("GPU-f", "CUDA_VISIBLE_DEVICES=GPU-f: no GPU GPU-f here; there are 4, from 0 on"),
        ("GPU-", "CUDA_VISIBLE_DEVICES=GPU-: no GPU GPU- here; there are 4, from 0 on"),
    ],
)
def test_a_gpu_that_is_not_there_is_one_line(machine, monkeypatch, told, line):
    monkeypatch.setenv(VISIBLE, told)
    with pytest.raises(UserError) as error:
        visible_gpus()
    assert str(error.value) == line


@pytest.mark.parametrize("told", ["", "-1", "NoDevFiles"])
def test_no_gpu_is_claimed_where_none_is_to_be_seen(claim, told):
    assert seen(claim(CUDA_VISIBLE_DEVICES=told)) == told


def test_without_nvidia_smi_the_variable_is_believed(machine, claim, monkeypatch):
    monkeypatch.setenv("PATH", str(machine))  # where this machine has one itself
    (machine / "nvidia-smi").unlink()
    assert [seen(claim(CUDA_VISIBLE_DEVICES="2,MIG-1/2")) for _ in range(2)] == ["2", "MIG-1/2"]
    assert seen(claim()) is None


def test_a_computation_claims_before_torch_is_asked(machine, monkeypatch):
    order = []
    monkeypatch.setattr(device, "claim_gpus", lambda count: order.append(f"claim {count}"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: order.append("torch") or True)
    assert device.claim_device("cuda", 2) == "cuda" and order == ["claim 2", "torch"]
    monkeypatch.setattr(device, "DRIVER", machine / "none")
    assert device.claim_device("cpu") == device.claim_device("auto") == "cpu" and order == ["claim 2", "torch"]
    monkeypatch.setattr(device, "DRIVER", machine)
    assert device.claim_device("auto") == "cuda" and order[2:] == ["claim 1", "torch"]


@pytest.mark.parametrize(
    ("told", "given", "limit"), [(None, None, 4), (None, 2, 2), ("1,2", None, 2), ("", None, None)]
)
def test_as_many_jobs_run_at_once_as_there_are_gpus(machine, monkeypatch, told, given, limit):
    if told is not None:
        monkeypatch.setenv(VISIBLE, told)
    assert begin._gpu_limit(given) == limit


@pytest.mark.parametrize(("told", "given", "most"), [(None, 0, "4"), (None, 5, "4"), ("1,2", 3, "2"), ("", 0, "all")])
def test_more_gpus_than_there_are_or_none_is_one_line(machine, monkeypatch, told, given, most):
    """Snakemake would scale a job's need to 0, or start jobs that find no free GPU."""
    if told is not None:
        monkeypatch.setenv(VISIBLE, told)
    with pytest.raises(UserError, match=f"^--resources gpu={given}: must be from 1 to {most}, the GPUs visible here$"):
        begin._gpu_limit(given)


def test_the_snakefile_limits_the_jobs_at_once(machine, repository):
    """With a stand-in for torch, which has no CUDA here. On a cluster the GPUs of this machine say nothing."""
    (machine / "torch.py").write_text("class cuda:\n    is_available = staticmethod(lambda: True)\n")
    (machine / "params.yaml").symlink_to(repository / "params.yaml")
    (machine / "Snakefile").write_text(
        f'include: "{repository / "Snakefile"}"\n'
        'print("LIMIT", workflow.global_resources["gpu"].value if "gpu" in workflow.global_resources else None)\n'
        'for name in ("pretrain", "features"):\n'
        '    print(name, "claims", workflow.get_rule(name).resources["gpu"].value if RUN.gpus else None)\n'
        "if DEVICES > 1:\n"
        '    print("cores", workflow.get_rule("pretrain").resources["cpus_per_task"].value)\n'
    )
    environment = os.environ | {"PYTHONPATH": f"{machine}{os.pathsep}{repository / 'src'}"}

    def dry_run(*options: str, devices: int = 1) -> list[str]:
        config = ["--config", "device=cuda", f"devices={devices}"]
        command = [Path(sys.executable).parent / "snakemake", "--dry-run", *options, *config]
        answer = subprocess.run(command, cwd=machine, env=environment, capture_output=True, text=True, check=False)
        return (answer.stdout + answer.stderr).splitlines()

    assert {"LIMIT 4", "pretrain claims 1", "features claims 1"} <= {*dry_run("--cores", "8")}
    together = dry_run("--cores", "8", "--resources", "gpu=3", devices=2)
    assert {"LIMIT 3", "pretrain claims 2", "features claims 1", "cores 2"} <= {*together}
    assert "contrastbench: --resources gpu=5: must be from 1 to 4, the GPUs visible here" in dry_run(
        "--cores", "8", "--resources", "gpu=5"
    )
    (machine / "torch.py").write_text("class cuda:\n    is_available = staticmethod(lambda: False)\n")
    assert "LIMIT None" in dry_run("--jobs", "100")
