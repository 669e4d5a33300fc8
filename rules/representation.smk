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


rule features:
    input:
        lambda wildcards: GRID.data_folder(job_of(wildcards)) / "meta.json",
        lambda wildcards: GRID.weights(job_of(wildcards)),
    output:
        f"{run('features')}/features.npz",
    log:
        log_of("features"),
    benchmark:
        benchmark_of("features")
    threads: 1
    resources:
        mem_mb=2500,
        gpu=1 if DEVICE == "cuda" else 0,
    params:
        state=lambda wildcards: GRID.state("features", job_of(wildcards)),
    shell:
        "contrastbench features {wildcards.track} {wildcards.dataset} {wildcards.method} {wildcards.seed}"
        f" --preset {PRESET} --device {DEVICE} > {{log}} 2>&1"


for TRACK in GRID.params.tracks:

    rule:
        name:
            f"probe_{TRACK}"
        input:
            lambda wildcards: GRID.data_folder(job_of(wildcards)) / "meta.json",
            f"{run('features')}/features.npz",
        output:
            rows("probe", GRID.probe_protocols(TRACK)),
        log:
            log_of("probe"),
        benchmark:
            benchmark_of("probe")
        wildcard_constraints:
            track=TRACK,
        threads: 1
        resources:
            mem_mb=2500,
        params:
            state=lambda wildcards: GRID.row_state(
                "probe", job_of(wildcards), GRID.track(wildcards.track).probe
            ),
        shell:
            "contrastbench probe {wildcards.track} {wildcards.dataset} {wildcards.method} {wildcards.seed}"
            f" --preset {PRESET} > {{log}} 2>&1"


for TRACK in GRID.params.tracks:
    for PAIR in GRID.transfers(TRACK):

        rule:
            name:
                f"transfer_probe_{TRACK}_{PAIR.train}_{PAIR.probe}"
            input:
                f"data/prepared/{PAIR.train}/meta.json",
                f"data/prepared/{PAIR.probe}/meta.json",
                f"runs/{PRESET}/pretrain/{TRACK}/{PAIR.train}/{{method}}/{{seed}}/model.safetensors",
            output:
                [
                    f"results/rows/{PRESET}/transfer_probe/{TRACK}/{PAIR.label}/{{method}}/{protocol}/{{seed}}.json"
                    for protocol in GRID.probe_protocols(TRACK)
                ],
            log:
                f"runs/{PRESET}/logs/transfer_probe/{TRACK}-{PAIR.label}-{{method}}-{{seed}}.log",
            benchmark:
                f"runs/{PRESET}/benchmarks/transfer_probe/{TRACK}-{PAIR.label}-{{method}}-{{seed}}.tsv"
            threads: 1
            resources:
                mem_mb=2500,
                gpu=1 if DEVICE == "cuda" else 0,
            params:
                # Not in `shell`, whose text is formatted when the job runs: by then the loop is over.
                target=f"{TRACK} {PAIR.train} {PAIR.probe}",
                state=lambda wildcards, track=TRACK, pair=PAIR: GRID.row_state(
                    "transfer_probe",
                    Job(track, pair.train, wildcards.method, int(wildcards.seed)),
                    GRID.track(track).probe,
                ),
            shell:
                "contrastbench transfer-probe {params.target} {wildcards.method} {wildcards.seed}"
                f" --preset {PRESET} --device {DEVICE} > {{log}} 2>&1"
