# Trained encoders -> result rows. Where starting Python takes longer than the work, one job takes all seeds: the rule
# `judge` covers these stages.


rule judge:
    input:
        lambda wildcards: GRID.inputs(wildcards.stage, job_of(wildcards)),
    output:
        rows("{stage}", OF_ALL_SEEDS),
    log:
        log_of("{stage}", OF_ALL_SEEDS),
    benchmark:
        benchmark_of("{stage}", OF_ALL_SEEDS)
    resources:
        **resources_of(),
    params:
        command=lambda wildcards: wildcards.stage.replace("_", "-"),
        state=lambda wildcards: GRID.state(wildcards.stage, job_of(wildcards)),
    shell:
        "contrastbench {params.command} {wildcards.track} {wildcards.dataset} {wildcards.method}"
        f" --preset {PRESET} --state {{params.state}} > {{log}} 2>&1"


rule attack:
    input:
        reads("attack"),
    output:
        rows("attack"),
        run("attack", "classifiers.safetensors"),
        run("attack", "verdicts.npz"),
    log:
        log_of("attack"),
    benchmark:
        benchmark_of("attack")
    resources:
        **resources_of("attack"),
    params:
        state=state("attack"),
    shell:
        "contrastbench attack {wildcards.track} {wildcards.dataset} {wildcards.method} {wildcards.seed}"
        f" --preset {PRESET} --state {{params.state}} > {{log}} 2>&1"


rule own_attack:
    input:
        reads("own_attack"),
    output:
        rows("own_attack"),
    log:
        log_of("own_attack"),
    benchmark:
        benchmark_of("own_attack")
    resources:
        **resources_of("own_attack"),
    params:
        state=state("own_attack"),
    shell:
        "contrastbench own-attack {wildcards.track} {wildcards.dataset} {wildcards.method} {wildcards.seed}"
        f" --preset {PRESET} --state {{params.state}} > {{log}} 2>&1"


rule head_corruptions:
    input:
        reads("head_corruptions"),
    output:
        rows("head_corruptions", OF_ALL_SEEDS),
    log:
        log_of("head_corruptions", OF_ALL_SEEDS),
    benchmark:
        benchmark_of("head_corruptions", OF_ALL_SEEDS)
    resources:
        **resources_of("head_corruptions"),
    params:
        state=state("head_corruptions"),
    shell:
        "contrastbench head-corruptions {wildcards.track} {wildcards.dataset} {wildcards.method}"
        f" --preset {PRESET} --state {{params.state}} > {{log}} 2>&1"


# One trial of a search, by whichever measure its track is tuned by.
rule validate:
    input:
        lambda wildcards: GRID.inputs(wildcards.stage, job_of(wildcards)),
    output:
        rows("{stage}"),
    log:
        log_of("{stage}"),
    benchmark:
        benchmark_of("{stage}")
    wildcard_constraints:
        stage=RUN.validating_stages,
    resources:
        **resources_of(),
    params:
        command=lambda wildcards: wildcards.stage.replace("_", "-"),
        state=lambda wildcards: GRID.state(wildcards.stage, job_of(wildcards)),
    shell:
        "contrastbench {params.command} {wildcards.track} {wildcards.dataset} {wildcards.method} {wildcards.seed}"
        f" --preset {PRESET} --state {{params.state}} > {{log}} 2>&1"


rule transfer_attack:
    input:
        reads("transfer_attack"),
    output:
        rows("transfer_attack", OF_ALL_METHODS),
    log:
        log_of("transfer_attack", OF_ALL_METHODS),
    benchmark:
        benchmark_of("transfer_attack", OF_ALL_METHODS)
    resources:
        **resources_of("transfer_attack"),
    params:
        state=state("transfer_attack"),
    shell:
        "contrastbench transfer-attack {wildcards.track} {wildcards.dataset} {wildcards.seed}"
        f" --preset {PRESET} --state {{params.state}} > {{log}} 2>&1"
