# Rows -> tables; encoders and classifiers -> still images; all of it -> the report.


rule figures:
    input:
        lambda wildcards: GRID.figure_inputs(
            wildcards.track, wildcards.dataset, wildcards.figure, int(wildcards.seed)
        ),
    output:
        str(GRID.figure("{track}", "{dataset}", "{figure}", "{seed}")),
    log:
        log_of("figures", Job("{track}", "{dataset}", "{figure}", "{seed}")),
    benchmark:
        benchmark_of("figures", Job("{track}", "{dataset}", "{figure}", "{seed}"))
    resources:
        **resources_of("figures"),
    params:
        state=lambda wildcards: GRID.figure_state(
            wildcards.track, wildcards.dataset, wildcards.figure, int(wildcards.seed)
        ),
    shell:
        "contrastbench figures {wildcards.track} {wildcards.dataset} {wildcards.figure} {wildcards.seed}"
        f" --preset {PRESET} > {{log}} 2>&1"


rule tables:
    input:
        lambda wildcards: GRID.tables_inputs(wildcards.track),
    output:
        [str(GRID.layout.table("{track}", ending)) for ending in ENDINGS],
        str(GRID.layout.metrics("{track}")),
    log:
        f"runs/{PRESET}/logs/tables/{{track}}.log",
    resources:
        **resources_of("tables"),
    params:
        state=lambda wildcards: GRID.tables_state(wildcards.track),
    shell:
        f"contrastbench tables --track {{wildcards.track}} --preset {PRESET} > {{log}} 2>&1"


rule target_tables:
    input:
        lambda wildcards: GRID.tables_inputs(wildcards.track, wildcards.target),
    output:
        [str(GRID.layout.table("{track}-{target}", ending)) for ending in ENDINGS],
    log:
        f"runs/{PRESET}/logs/tables/{{track}}-{{target}}.log",
    resources:
        **resources_of("tables"),
    params:
        state=lambda wildcards: GRID.tables_state(wildcards.track, wildcards.target),
    shell:
        "contrastbench tables --track {wildcards.track} --target {wildcards.target}"
        f" --preset {PRESET} > {{log}} 2>&1"


rule report:
    input:
        # The rows too: equal tables may come from rows with other parameters, times or devices, which the page shows.
        GRID.targets(),
    output:
        str(GRID.layout.report),
    log:
        f"runs/{PRESET}/logs/report.log",
    resources:
        **resources_of("report"),
    params:
        state=GRID.report_state(),
    shell:
        f"contrastbench report --preset {PRESET} > {{log}} 2>&1"
