"""Whether a Slurm cluster takes a run's jobs, asked before the first is submitted.

Snakemake's executor would submit one after another, and of a refused group of jobs not say why.
"""

import subprocess
from collections.abc import Iterable, Mapping
from typing import Any

from contrastbench.errors import UserError

PROFILE = "profiles/slurm/config.yaml"


def check_slurm(jobs: Iterable[Mapping[str, Any]]) -> None:
    """Try, for each partition and account, a job that needs as much as the greediest of ``jobs``, which are resources.

    A refusal is a UserError with Slurm's own words. Nothing is submitted.
    """
    greediest: dict[tuple[str, str], dict[str, int]] = {}
    for job in jobs:
        needs = greediest.setdefault((job.get("slurm_partition", ""), job.get("slurm_account", "")), {})
        for name in ("mem_mb", "runtime", "gpu"):
            needs[name] = max(needs.get(name, 0), job.get(name, 0))
    for (partition, account), needs in greediest.items():
        options = {
            "partition": partition,
            "account": account,
            "mem": needs["mem_mb"],
            "time": needs["runtime"],
            "gpus": needs["gpu"],
        }
        given = [f"--{name}={value}" for name, value in options.items() if value]
        answer = subprocess.run(
            ["sbatch", "--test-only", *given, "--wrap", "true"], capture_output=True, text=True, check=False
        )
        if answer.returncode != 0:
            reason = answer.stderr.strip().replace("\n", "; ")
            raise UserError(
                f"Slurm refuses jobs with {' '.join(given)} ({reason}); "
                f"put a partition and an account of yours that take them into {PROFILE}"
            )
