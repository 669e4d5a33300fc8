"""The scripts of profiles/kubernetes, with a stand-in for ``kubectl`` that runs a job's command on this machine."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

KUBECTL = """#!{python}
import pathlib, subprocess, sys, yaml
kept = pathlib.Path("{folder}")
verb, *rest = sys.argv[1:]
if verb == "create":
    (kept / "job.yaml").write_text(text := sys.stdin.read())
    container = yaml.safe_load(text)["spec"]["template"]["spec"]["containers"][0]
    number = len(list(kept.glob("ended-*")))
    done = subprocess.run(container["command"], cwd=container["workingDir"], stdout=sys.stderr)
    (kept / f"ended-{{number}}").write_text("Failed" if done.returncode else "SuccessCriteriaMet Complete")
    print(f"job.batch/{{number}}")
elif verb == "get":
    ended = kept / f"ended-{{rest[0].split('/')[1]}}"
    print("there " + ended.read_text() if ended.exists() else "", end="")
else:
    (kept / "deleted").write_text(" ".join(sys.argv[1:]))
"""


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the stand-in keeps what it was asked for."""
    folder = tmp_path / "kubectl"
    folder.mkdir()
    (folder / "kubectl").write_text(KUBECTL.format(python=sys.executable, folder=folder))
    (folder / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]]))
    return folder


@pytest.fixture
def scripts(repository: Path) -> Path:
    return repository / "profiles/kubernetes"


def said(*command: object, cwd: Path | None = None, code: int = 0) -> str:
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def submitted(scripts: Path, folder: Path, gpus: int, script: str) -> str:
    (folder / "job.sh").write_text(script)
    options = ("registry/image:1", "claim", folder, 1500, 20, gpus, folder / "job.sh")
    return said(scripts / "submit", *options, cwd=folder).strip()


def test_a_job_asks_for_what_it_needs_and_sees_the_shared_folder(kubectl, scripts, tmp_path):
    job = submitted(scripts, tmp_path, 2, "pwd > where")
    assert (tmp_path / "where").read_text().strip() == str(tmp_path)
    asked = yaml.safe_load((kubectl / "job.yaml").read_text())
    assert asked["kind"] == "Job" and asked["spec"]["activeDeadlineSeconds"] == 20 * 60
    pod = asked["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert pod["restartPolicy"] == "Never" and container["image"] == "registry/image:1"
    assert container["resources"] == {
        "requests": {"cpu": 2, "memory": "1500M"},  # a process on each GPU
        "limits": {"memory": "1500M", "nvidia.com/gpu": 2},
    }
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    volumes = {volume.pop("name"): volume for volume in pod["volumes"]}
    assert mounts.keys() == volumes.keys() and mounts["project"] == str(tmp_path)
    assert volumes["project"] == {"persistentVolumeClaim": {"claimName": "claim"}}
    assert said(scripts / "status", job) == "success\n"


def test_a_job_without_a_gpu_asks_for_none_and_its_failure_is_seen(kubectl, scripts, tmp_path):
    job = submitted(scripts, tmp_path, 0, "exit 3")
    asked = yaml.safe_load((kubectl / "job.yaml").read_text())
    resources = asked["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert resources == {"requests": {"cpu": 1, "memory": "1500M"}, "limits": {"memory": "1500M"}}
    assert said(scripts / "status", job) == "failed\n"
    (kubectl / "ended-0").write_text("")
    assert said(scripts / "status", job) == "running\n"
    (kubectl / "ended-0").unlink()
    assert said(scripts / "status", job) == "failed\n", "deleted"
    said(scripts / "cancel", job, "job.batch/1")
    assert (kubectl / "deleted").read_text() == f"delete --wait=false {job} job.batch/1"


def test_a_profile_without_its_values_is_one_line(scripts):
    line = said(scripts / "submit", "IMAGE", "CLAIM", "/work", 1500, 20, 0, "job.sh", code=2)
    assert line == "profiles/kubernetes/config.yaml: put your cluster's values for IMAGE, CLAIM and MOUNT\n"


@pytest.mark.skipif(
    importlib.util.find_spec("snakemake_executor_plugin_cluster_generic") is None,
    reason="the extra `cluster` is not installed",
)
def test_snakemake_runs_jobs_through_the_profile(kubectl, scripts, tmp_path):
    """A failed job gets more memory; jobs of a group are submitted as one."""
    profile = tmp_path / "profiles/kubernetes"
    profile.mkdir(parents=True)
    for path in scripts.iterdir():
        text = path.read_text().replace("submit IMAGE CLAIM MOUNT", f"submit image claim {tmp_path}")
        (profile / path.name).write_text(text.replace("latency-wait: 60", "latency-wait: 5"))
        (profile / path.name).chmod(0o755)
    (tmp_path / "Snakefile").write_text(
        "rule judge:\n    input: 'features'\n    output: 'rows'\n"
        "    resources: mem_mb=1000, runtime=5\n    shell: 'cp {input} {output}'\n"
        "rule features:\n    output: 'features'\n"
        "    resources: mem_mb=lambda wildcards, attempt: attempt * 1000, runtime=10\n"
        "    shell: '[ {resources.mem_mb} -gt 1000 ] && echo {resources.mem_mb} > {output}'\n"
    )
    said("snakemake", "--profile", "profiles/kubernetes", "rows", cwd=tmp_path)
    assert (tmp_path / "rows").read_text() == "2000\n"
    assert len(list(kubectl.glob("ended-*"))) == 2
    asked = yaml.safe_load((kubectl / "job.yaml").read_text())
    assert asked["spec"]["activeDeadlineSeconds"] == 15 * 60
    assert asked["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"] == "2000M"
