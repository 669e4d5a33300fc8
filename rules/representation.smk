# Train an encoder, extract its frozen features, judge them.


rule pretrain:
    input:
        lambda wildcards: GRID.data_folder(job_of(wildcards)) / "meta.json",
    output:
        model=f"{run('pretrain')}/model.safetensors",
        history=f"{run('pretrain')}/history.csv",
        record=f"{run('pretrain')}/run.json",
    log:
        log_of("pretrain"),
    benchmark:
        benchmark_of("pretrain")
    threads: 1
    resources:
        mem_mb=2500,
        gpu=1 if DEVICE == "cuda" else 0,
    params:
        state=lambda wildcards: GRID.state(
            "pretrain", job_of(wildcards), GRID.pretrain_params(job_of(wildcards))
        ),
    shell:
        "contrastbench pretrain {wildcards.track} {wildcards.dataset} {wildcards.method} {wildcards.seed}"
        f" --preset {PRESET} --device {DEVICE} > {{log}} 2>&1"


for TRACK in GRID.params.tracks:

    rule:
        name:
            f"features_{TRACK}"
        input:
            lambda wildcards, track=TRACK: GRID.data_folder(
                first_seed(track, wildcards.dataset, wildcards.method)
            )
            / "meta.json",
            lambda wildcards, track=TRACK: weights_of(
                track, wildcards.dataset, wildcards.method
            ),
        output:
            features_of(TRACK, "{dataset}"),
        log:
            f"runs/{PRESET}/logs/features/{TRACK}-{{dataset}}-{{method}}.log",
        benchmark:
            f"runs/{PRESET}/benchmarks/features/{TRACK}-{{dataset}}-{{method}}.tsv"
        threads: 1
        resources:
            mem_mb=2500,
            gpu=1 if DEVICE == "cuda" else 0,
        params:
            # Not in `shell`, whose text is formatted when the job runs: by then the loop is over.
            track=TRACK,
            seeds=all_seeds(TRACK),
            state=lambda wildcards, track=TRACK: GRID.state(
                "features", first_seed(track, wildcards.dataset, wildcards.method)
            ),
        shell:
            "contrastbench features {params.track} {wildcards.dataset} {wildcards.method} {params.seeds}"
            f" --preset {PRESET} --device {DEVICE} > {{log}} 2>&1"

    rule:
        name:
            f"probe_{TRACK}"
        input:
            lambda wildcards, track=TRACK: GRID.data_folder(
                first_seed(track, wildcards.dataset, wildcards.method)
            )
            / "meta.json",
            features_of(TRACK, "{dataset}"),
        output:
            rows("probe", TRACK, "{dataset}", GRID.probe_protocols(TRACK)),
        log:
            f"runs/{PRESET}/logs/probe/{TRACK}-{{dataset}}-{{method}}.log",
        benchmark:
            f"runs/{PRESET}/benchmarks/probe/{TRACK}-{{dataset}}-{{method}}.tsv"
        threads: 1
        resources:
            mem_mb=2500,
        params:
            track=TRACK,
            seeds=all_seeds(TRACK),
            state=lambda wildcards, track=TRACK: GRID.row_state(
                "probe",
                first_seed(track, wildcards.dataset, wildcards.method),
                GRID.track(track).probe,
            ),
        shell:
            "contrastbench probe {params.track} {wildcards.dataset} {wildcards.method} {params.seeds}"
            f" --preset {PRESET} > {{log}} 2>&1"


for TRACK in GRID.params.tracks:
    for PAIR in GRID.transfers(TRACK):

        rule:
            name:
                f"transfer_probe_{TRACK}_{PAIR.train}_{PAIR.probe}"
            input:
                f"data/prepared/{PAIR.train}/meta.json",
                f"data/prepared/{PAIR.probe}/meta.json",
                lambda wildcards, track=TRACK, pair=PAIR: weights_of(
                    track, pair.train, wildcards.method
                ),
            output:
                rows("transfer_probe", TRACK, PAIR.label, GRID.probe_protocols(TRACK)),
            log:
                f"runs/{PRESET}/logs/transfer_probe/{TRACK}-{PAIR.label}-{{method}}.log",
            benchmark:
                f"runs/{PRESET}/benchmarks/transfer_probe/{TRACK}-{PAIR.label}-{{method}}.tsv"
            threads: 1
            resources:
                mem_mb=2500,
                gpu=1 if DEVICE == "cuda" else 0,
            params:
                target=f"{TRACK} {PAIR.train} {PAIR.probe}",
                seeds=all_seeds(TRACK),
                state=lambda wildcards, track=TRACK, pair=PAIR: GRID.row_state(
                    "transfer_probe",
                    first_seed(track, pair.train, wildcards.method),
                    GRID.track(track).probe,
                ),
            shell:
                "contrastbench transfer-probe {params.target} {wildcards.method} {params.seeds}"
                f" --preset {PRESET} --device {DEVICE} > {{log}} 2>&1"
