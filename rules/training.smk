# Data -> trained encoders -> their frozen features. A job per seed.


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
