# Result rows -> tables.


for TRACK in GRID.params.tracks:

    rule:
        name:
            f"tables_{TRACK}"
        input:
            # A function is called when the rule is needed; a list is taken apart whenever the file is read. So below.
            lambda wildcards, track=TRACK: GRID.rows(track),
        output:
            GRID.tables(TRACK),
            GRID.metrics(TRACK),
        log:
            f"runs/{PRESET}/logs/tables/{TRACK}.log",
        params:
            # Not in `shell`, whose text is formatted when the job runs: by then the loop is over.
            track=TRACK,
            state=GRID.tables_state(TRACK),
        shell:
            "contrastbench tables --track {params.track}"
            f" --preset {PRESET} > {{log}} 2>&1"

    rule:
        name:
            f"ablation_tables_{TRACK}"
        input:
            lambda wildcards, track=TRACK: GRID.ablation_rows(track),
        output:
            GRID.ablation_tables(TRACK),
        log:
            f"runs/{PRESET}/logs/tables/{TRACK}-ablation.log",
        params:
            track=TRACK,
            state=GRID.tables_state(TRACK),
        shell:
            "contrastbench tables --track {params.track} --ablation"
            f" --preset {PRESET} > {{log}} 2>&1"


rule report:
    input:
        # The rows too: equal tables may come from rows with other parameters, times or devices, which the page shows.
        lambda wildcards: GRID.targets(),
    output:
        GRID.report(),
    log:
        f"runs/{PRESET}/logs/report.log",
    params:
        state=GRID.report_state(),
    shell:
        f"contrastbench report --preset {PRESET} > {{log}} 2>&1"
