"""Snakemake looks at an unchanged schedule once a second, however many jobs have ended."""

import threading
import time
from pathlib import Path
from types import SimpleNamespace

from snakemake.scheduling.job_scheduler import JobScheduler

from contrastbench.pipeline.scheduler import look_again_once


def looks_of(schedule, asked: int, seconds: float) -> int:
    """How often a scheduler looks in ``seconds`` if ``asked`` looks are asked for at once, and one after each look."""
    scheduler = SimpleNamespace(_open_jobs=threading.Semaphore(0))
    for _ in range(asked):
        schedule(scheduler, 0.1)
    looks, end = 0, time.monotonic() + seconds
    while scheduler._open_jobs.acquire(timeout=max(0.0, end - time.monotonic())):
        looks += 1
        schedule(scheduler, 0.1)
    return looks


def test_looks_do_not_multiply_and_do_not_end():
    class Calm(JobScheduler):
        """As in our Snakefile."""

    look_again_once(Calm)
    assert looks_of(JobScheduler._schedule_reevalutation, asked=20, seconds=0.35) >= 40
    assert 2 <= looks_of(Calm._schedule_reevalutation, asked=20, seconds=0.75) <= 7


def test_the_snakefile_calms_its_scheduler(repository: Path):
    lines = (repository / "src/contrastbench/workflow/Snakefile").read_text(encoding="utf-8").splitlines()
    assert "look_again_once(JobScheduler)" in lines
