# The whole benchmark as one graph: `snakemake --cores all`.
# Another preset:   snakemake --cores all --config preset=smoke
# On a GPU machine: snakemake --cores all --config device=cuda --resources gpu=1
import sys

from snakemake.scheduling.job_scheduler import JobScheduler

from contrastbench.errors import UserError
from contrastbench.pipeline.begin import begin
from contrastbench.pipeline.scheduler import look_again_once

# A mistake of the user's is one line; left alone, Snakemake would show where in our code it was raised.
try:
    RUN = begin(config, is_main_process=workflow.is_main_process)
except UserError as error:
    sys.exit(f"contrastbench: {error}")
GRID, PRESET, GPUS = RUN.grid, RUN.preset, RUN.gpus

# To find data frames among `params`, Snakemake would import pandas, for a quarter of a second; ours are texts.
sys.modules.setdefault("pandas", None)
look_again_once(JobScheduler)


wildcard_constraints:
    stage=RUN.judging_stages,
    track=RUN.tracks,
    dataset="[a-z0-9_-]+",
    method="[a-z0-9_-]+",
    figure="[a-z-]+",
    seed=r"\d+",


include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/training.smk"
include: "rules/judging.smk"
include: "rules/results.smk"


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
            for path in GRID.tables(track, ablation=True)
        ],
