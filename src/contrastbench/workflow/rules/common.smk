# What the rules share. The table of stages (src/contrastbench/pipeline/stages.py) says what a stage reads and leaves.
from contrastbench.pipeline.grid import ENDINGS
from contrastbench.pipeline.layout import ALL, ALL_SEEDS, Job
from contrastbench.pipeline.resources import WITHOUT_ENCODER, needs
from contrastbench.pipeline.stages import OF_SEEDS, STAGES, TRAINING

JOB = Job("{track}", "{dataset}", "{method}", "{seed}")
OF_ALL_SEEDS = Job("{track}", "{dataset}", "{method}")
OF_ALL_METHODS = Job("{track}", "{dataset}", ALL, "{seed}")


def job_of(wildcards, track=None):
    """The job of a rule's wildcards; the track is given where the rule is for one alone."""
    method = wildcards.get("method", ALL)
    seed = int(wildcards.get("seed", ALL_SEEDS))
    return Job(track or wildcards.get("track"), wildcards.get("dataset"), method, seed)


def reads(stage, track=None):
    """The inputs of a stage's job."""
    return lambda wildcards: GRID.inputs(stage, job_of(wildcards, track))


def state(stage, track=None):
    """What makes a stage's job stale besides its inputs."""
    return lambda wildcards: GRID.state(stage, job_of(wildcards, track))


def run(stage, name, job=JOB):
    """A file that a stage leaves."""
    return str(GRID.layout.run(stage, job) / name)


def rows(stage, job=JOB):
    """The rows that a stage writes."""
    return str(GRID.layout.rows(stage, job))


def files_of_seeds(stage, track):
    """What a stage leaves for all seeds of a track, in folders of wildcards for data set and method."""
    jobs = [
        Job(track, "{dataset}", "{method}", seed) for seed in GRID.track(track).seeds
    ]
    return [run(stage, name, job) for job in jobs for name in STAGES[stage].leaves]


def log_of(stage, job=JOB):
    return str(GRID.layout.log(stage, job))


def benchmark_of(stage, job=JOB):
    return str(GRID.layout.benchmark(stage, job))


def resources_of(stage=None, track=None):
    """What a stage's job asks for, more of it after each failure; the stage may be a wildcard."""
    processes = DEVICES if stage in TRAINING else 1

    def asked(wildcards, attempt):
        return needs(
            GRID,
            stage or wildcards.stage,
            job_of(wildcards, track),
            on_gpu=GPUS > 0,
            attempt=attempt,
        )

    resources = {
        "mem_mb": lambda wildcards, attempt: processes
        * asked(wildcards, attempt).mem_mb,
        "runtime": lambda wildcards, attempt: asked(wildcards, attempt).runtime,
    }
    if GPUS and stage not in WITHOUT_ENCODER:
        resources["gpu"] = GPUS * processes
    if processes > 1:  # Slurm's own word; `threads` ends at the profile's `cores`
        resources["cpus_per_task"] = processes
    return resources
