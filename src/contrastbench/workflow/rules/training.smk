# Data -> trained encoders -> their frozen features. A job per seed; at the end, of some tracks, for all seeds.


rule pretrain:
    input:
        reads("pretrain"),
    output:
        run("pretrain", "model.safetensors"),
        run("pretrain", "history.csv"),
        run("pretrain", "run.json"),
    log:
        log_of("pretrain"),
    benchmark:
        benchmark_of("pretrain")
    threads: DEVICES
    resources:
        **resources_of("pretrain"),
    params:
        state=state("pretrain"),
    shell:
        "contrastbench pretrain {wildcards.track} {wildcards.dataset} {wildcards.method} {wildcards.seed}"
        f" --preset {PRESET} --state {{params.state}} > {{log}} 2>&1"


rule tune:
    input:
        reads("tune"),
    output:
        run("tune", "model.safetensors"),
        run("tune", "history.csv"),
        run("tune", "run.json"),
    log:
        log_of("tune"),
    benchmark:
        benchmark_of("tune")
    threads: DEVICES
    resources:
        **resources_of("tune"),
    params:
        state=state("tune"),
    shell:
        "contrastbench tune {wildcards.track} {wildcards.dataset} {wildcards.method} {wildcards.seed}"
        f" --preset {PRESET} --state {{params.state}} > {{log}} 2>&1"


rule features:
    input:
        reads("features"),
    output:
        run("features", "features.safetensors"),
    log:
        log_of("features"),
    benchmark:
        benchmark_of("features")
    resources:
        **resources_of("features"),
    params:
        state=state("features"),
    shell:
        "contrastbench features {wildcards.track} {wildcards.dataset} {wildcards.method} {wildcards.seed}"
        f" --preset {PRESET} --state {{params.state}} > {{log}} 2>&1"


# Where starting Python takes longer than the work, a job takes all seeds.
for TRACK in GRID.params.tracks:
    for STAGE in OF_SEEDS:
        if not GRID.takes_seeds(STAGE, TRACK):
            continue
        workflow.ruleorder(f"{STAGE}_{TRACK}", STAGE)

        rule:
            name:
                f"{STAGE}_{TRACK}"
            input:
                reads(STAGE, TRACK),
            output:
                files_of_seeds(STAGE, TRACK),
            log:
                log_of(STAGE, Job(TRACK, "{dataset}", "{method}")),
            benchmark:
                benchmark_of(STAGE, Job(TRACK, "{dataset}", "{method}"))
            resources:
                **resources_of(STAGE, TRACK),
            params:
                stage=STAGE,  # the command is put together when the loop has ended
                track=TRACK,
                state=state(STAGE, TRACK),
            shell:
                "contrastbench {params.stage} {params.track} {wildcards.dataset} {wildcards.method}"
                f" --preset {PRESET} --state {{params.state}} > {{log}} 2>&1"
