# The whole benchmark as one graph: `snakemake --cores all`.
# Another preset:   snakemake --cores all --config preset=smoke
# On a GPU machine: snakemake --cores all --config device=cuda (a job on each GPU; fewer: --resources gpu=1)
# Several GPUs that train one encoder together: ... device=cuda devices=4
# On a cluster:     docs/cluster.md
# To follow training live: snakemake --cores all --config log=tensorboard (docs/loggers.md)
import sys

from snakemake.scheduling.job_scheduler import JobScheduler

from contrastbench.errors import UserError
from contrastbench.pipeline.begin import begin
from contrastbench.pipeline.grid import OTHER_TARGETS
from contrastbench.pipeline.scheduler import look_again_once
from contrastbench.pipeline.slurm import check_slurm

# A mistake of the user's is one line; left alone, Snakemake would show where in our code it was raised.
try:
    RUN = begin(
        config,
        is_main_process=workflow.is_main_process,
        elsewhere=workflow.resource_settings.nodes is not None,  # --jobs: on a cluster
        gpu_limit=(
            workflow.global_resources["gpu"].value
            if "gpu" in workflow.global_resources
            else None
        ),
    )
except UserError as error:
    sys.exit(f"contrastbench: {error}")
GRID, PRESET, GPUS, DEVICES = RUN.grid, RUN.preset, RUN.gpus, RUN.devices
if RUN.gpu_limit:
    workflow.register_resource("gpu", RUN.gpu_limit)


# What `begin` has fixed, for jobs on other machines.
envvars:
    "CONTRASTBENCH_PARAMS",
    "CONTRASTBENCH_DEVICE",
    "CONTRASTBENCH_LOG",


# To find data frames among `params`, Snakemake would import pandas, for a quarter of a second; ours are texts.
sys.modules.setdefault("pandas", None)
look_again_once(JobScheduler)


# On a cluster these run where Snakemake does: they take seconds, or fetch archives, for which nodes have no network.
localrules:
    all,
    ablation,
    swaro_cost,
    unremix_search,
    swaro_search,
    uamix_search,
    prepare,
    tables,
    target_tables,
    report,


wildcard_constraints:
    stage=RUN.judging_stages,
    track=RUN.tracks,
    dataset="[a-z0-9_-]+",
    method="[a-z0-9_-]+",
    figure="[a-z-]+",
    target="|".join(OTHER_TARGETS),
    seed=r"\d+",


include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/training.smk"
include: "rules/judging.smk"
include: "rules/results.smk"


onstart:
    if (
        workflow.executor_plugin.name == "slurm"
        and not workflow.executor_settings.partition_config
    ):
        try:
            check_slurm(
                job.resources
                for job in workflow.dag.needrun_jobs()
                if not job.is_local
            )
        except UserError as error:
            sys.exit(f"contrastbench: {error}")


rule all:
    default_target: True
    input:
        GRID.targets(),
        GRID.layout.report,


rule ablation:
    input:
        [
            path
            for track in GRID.params.tracks
            for path in GRID.tables(track, "ablation")
        ],


rule swaro_cost:
    input:
        GRID.tables("swaro", "cost"),


rule unremix_search:
    input:
        GRID.tables("unremix", "search"),


rule swaro_search:
    input:
        GRID.tables("swaro", "search"),


rule uamix_search:
    input:
        GRID.tables("uamix", "search"),
