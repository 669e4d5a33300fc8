# Sound -> spectrograms; tuning of a pretrained encoder; judgement with few labels and under attack.


rule spectrograms:
    input:
        "data/prepared/{dataset}/meta.json",
    output:
        meta=f"data/spectrograms/{PRESET}/{{dataset}}/meta.json",
    log:
        f"data/logs/spectrograms/{PRESET}-{{dataset}}.log",
    threads: 1
    resources:
        mem_mb=2500,
    params:
        state=lambda wildcards: GRID.spectrogram_state(),
    shell:
        f"contrastbench spectrograms {{wildcards.dataset}} --preset {PRESET} > {{log}} 2>&1"


rule tune:
    input:
        lambda wildcards: GRID.data_folder(job_of(wildcards)) / "meta.json",
        lambda wildcards: GRID.weights(GRID.tuned_from(job_of(wildcards))),
    output:
        model=f"{run('tune')}/model.safetensors",
        history=f"{run('tune')}/history.csv",
        record=f"{run('tune')}/run.json",
    log:
        log_of("tune"),
    benchmark:
        benchmark_of("tune")
    threads: 1
    resources:
        mem_mb=2500,
        gpu=1 if DEVICE == "cuda" else 0,
    params:
        state=lambda wildcards: GRID.state(
            "tune", job_of(wildcards), GRID.pretrain_params(job_of(wildcards))
        ),
    shell:
        "contrastbench tune {wildcards.track} {wildcards.dataset} {wildcards.method} {wildcards.seed}"
        f" --preset {PRESET} --device {DEVICE} > {{log}} 2>&1"


for TRACK in GRID.params.tracks:
    for PAIR in GRID.all_judged_pairs(TRACK):

        rule:
            name:
                PAIR.rule
            input:
                [folder / "meta.json" for folder in GRID.judged_data(PAIR)],
                features_of(TRACK, PAIR.trained),
                lambda wildcards, pair=PAIR: weights_of(
                    pair.track, pair.trained, wildcards.method
                ),
            output:
                rows(PAIR.stage, TRACK, PAIR.label, PAIR.protocols),
            log:
                f"runs/{PRESET}/logs/{PAIR.stage}/{TRACK}-{PAIR.label}-{{method}}.log",
            benchmark:
                f"runs/{PRESET}/benchmarks/{PAIR.stage}/{TRACK}-{PAIR.label}-{{method}}.tsv"
            threads: 1
            resources:
                mem_mb=2500,
                gpu=1 if DEVICE == "cuda" else 0,
            params:
                # Not in `shell`, whose text is formatted when the job runs: by then the loop is over.
                command=PAIR.stage.replace("_", "-"),
                target=f"{PAIR.trained} {PAIR.judged}",
                seeds=all_seeds(TRACK),
                state=lambda wildcards, pair=PAIR: GRID.row_state(
                    pair.stage,
                    first_seed(pair.track, pair.trained, wildcards.method),
                    getattr(GRID.track(pair.track), pair.stage),
                ),
            shell:
                "contrastbench {params.command} {params.target} {wildcards.method} {params.seeds}"
                f" --preset {PRESET} --device {DEVICE} > {{log}} 2>&1"
