# The whole benchmark as one graph: `snakemake --cores all`.
# Another preset:   snakemake --cores all --config preset=smoke
# On a GPU machine: snakemake --cores all --config device=cuda --resources gpu=1
import os
import sys

from contrastbench.errors import UserError
from contrastbench.pipeline.data_check import check_data
from contrastbench.pipeline.dates import bring_back_future_dates
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.pipeline.lock import hold_folder

PRESET = config.get("preset", "default")
DEVICE = config.get("device", "auto")
GRID = Grid(PRESET)
# A mistake of the user's is one line; left alone, Snakemake would show where in our code it was raised. So is an array
# that is gone, which Snakemake would not miss: it knows meta.json alone.
try:
    GRID.params
    check_data(GRID)
    if workflow.is_main_process:
        hold_folder()
        bring_back_future_dates()
except UserError as error:
    sys.exit(f"contrastbench: {error}")

# Inputs and parameters decide what is stale; the state below holds a hash of each step's code and parameters.
os.environ["DVC_NO_ANALYTICS"] = "1"

# glibc returns every large tensor to the kernel and faults it in again a step later; keeping the memory costs
# a quarter of a GiB a job and saves up to a seventh of the time of training on a CPU. Results do not change.
for NAME, VALUE in [
    ("MALLOC_TOP_PAD_", 2**28),
    ("MALLOC_TRIM_THRESHOLD_", 2**31),
    ("MALLOC_MMAP_THRESHOLD_", 2**25),
]:
    os.environ.setdefault(NAME, str(VALUE))


wildcard_constraints:
    track="[a-z]+",
    dataset="[a-z0-9_-]+",
    method="[a-z0-9_-]+",
    seed=r"\d+",


# Training and attacks on images have a job a seed. To judge an encoder takes less time than to start Python: one job
# of the other stages takes a method's encoders of all seeds.
def first_seed(track, dataset, method):
    return GRID.over_seeds(track, dataset, method)[0]


def all_seeds(track):
    return " ".join(str(seed) for seed in GRID.track(track).seeds)


def weights_of(track, dataset, method):
    jobs = GRID.over_seeds(track, dataset, method)
    return [path for job in jobs for path in GRID.weights(job)]


def features_of(track, dataset):
    """Pattern of the features of a method's encoders."""
    folder = f"runs/{PRESET}/features/{track}/{dataset}/{{method}}"
    return [f"{folder}/{seed}/features.npz" for seed in GRID.track(track).seeds]


def job_of(wildcards):
    return Job(
        wildcards.track, wildcards.dataset, wildcards.method, int(wildcards.seed)
    )


def run(stage):
    """Folder pattern of a stage's output."""
    return f"runs/{PRESET}/{stage}/{{track}}/{{dataset}}/{{method}}/{{seed}}"


def rows(stage, track, dataset, protocols):
    """Pattern of the rows that a stage writes for a method's encoders."""
    folder = f"results/rows/{PRESET}/{stage}/{track}/{dataset}/{{method}}"
    return [
        f"{folder}/{protocol}/{seed}.json"
        for protocol in protocols
        for seed in GRID.track(track).seeds
    ]


def log_of(stage):
    return f"runs/{PRESET}/logs/{stage}/{{track}}-{{dataset}}-{{method}}-{{seed}}.log"


def benchmark_of(stage):
    return f"runs/{PRESET}/benchmarks/{stage}/{{track}}-{{dataset}}-{{method}}-{{seed}}.tsv"


rule all:
    input:
        lambda wildcards: GRID.targets(),
        GRID.report(),


rule unremix_ablation:
    input:
        GRID.ablation_tables("unremix"),


rule swaro_ablation:
    input:
        GRID.ablation_tables("swaro"),


rule uamix_ablation:
    input:
        GRID.ablation_tables("uamix"),


include: "rules/data.smk"
include: "rules/representation.smk"
include: "rules/audio.smk"
include: "rules/robustness.smk"
include: "rules/figures.smk"
include: "rules/results.smk"
