# Attack classifiers on trained encoders, and transfer attacks between them. Which rows there are hangs on the track,
# the data set's radii and the method's heads, so each (track, data set, method) has a rule of its own.
from dataclasses import replace


def of_seed(job, wildcards):
    return replace(job, seed=int(wildcards.seed))


for TRACK in GRID.params.tracks:
    for JOB in GRID.attack_patterns(TRACK):

        rule:
            name:
                GRID.attack_rule(JOB)
            input:
                GRID.data_folder(JOB) / "meta.json",
                lambda wildcards, job=JOB: GRID.weights(of_seed(job, wildcards)),
                # Written for all seeds at once: a seed more must not attack the old ones again. What features depend
                # on is among the other inputs and in the state.
                ancient(
                    f"runs/{PRESET}/features/{TRACK}/{JOB.dataset}/{JOB.method}/{{seed}}/features.npz"
                ),
            output:
                [
                    f"{file.parents[1]}/{{seed}}/{file.name}"
                    for file in GRID.attack_files(JOB)
                ],
                [f"{row.parent}/{{seed}}.json" for row in GRID.attack_rows(JOB)],
            log:
                f"runs/{PRESET}/logs/attack/{TRACK}-{JOB.dataset}-{JOB.method}-{{seed}}.log",
            benchmark:
                f"runs/{PRESET}/benchmarks/attack/{TRACK}-{JOB.dataset}-{JOB.method}-{{seed}}.tsv"
            threads: 1
            resources:
                mem_mb=2500,
                gpu=1 if DEVICE == "cuda" else 0,
            params:
                # Not in the command itself: Snakemake reads a loop's variables there when the job runs.
                target=f"{TRACK} {JOB.dataset} {JOB.method}",
                state=lambda wildcards, job=JOB: GRID.row_state(
                    "attack", of_seed(job, wildcards), GRID.robustness(job.track)
                ),
            shell:
                "contrastbench attack {params.target} {wildcards.seed}"
                f" --preset {PRESET} --device {DEVICE} > {{log}} 2>&1"


for TRACK in GRID.params.tracks:
    for DATASET in GRID.track(TRACK).datasets:
        MATRIX = GRID.transfer_attack_rows(TRACK, DATASET, GRID.track(TRACK).seeds[0])
        if MATRIX:

            rule:
                name:
                    GRID.transfer_attack_rule(TRACK, DATASET)
                input:
                    f"data/prepared/{DATASET}/meta.json",
                    lambda wildcards, track=TRACK, dataset=DATASET: GRID.transfer_attack_inputs(
                        track, dataset, int(wildcards.seed)
                    ),
                output:
                    [f"{row.parent}/{{seed}}.json" for row in MATRIX],
                log:
                    f"runs/{PRESET}/logs/transfer_attack/{TRACK}-{DATASET}-{{seed}}.log",
                benchmark:
                    f"runs/{PRESET}/benchmarks/transfer_attack/{TRACK}-{DATASET}-{{seed}}.tsv"
                threads: 1
                resources:
                    mem_mb=2500,
                    gpu=1 if DEVICE == "cuda" else 0,
                params:
                    target=f"{TRACK} {DATASET}",
                    state=lambda wildcards, track=TRACK, dataset=DATASET: GRID.transfer_attack_state(
                        track, dataset, int(wildcards.seed)
                    ),
                shell:
                    "contrastbench transfer-attack {params.target} {wildcards.seed}"
                    f" --preset {PRESET} --device {DEVICE} > {{log}} 2>&1"
