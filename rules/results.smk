# Result rows -> tables.


for TRACK in GRID.params.tracks:

    rule:
        name:
            f"tables_{TRACK}"
        input:
            GRID.rows(TRACK),
        output:
            GRID.tables(TRACK),
            GRID.metrics(TRACK),
        log:
            f"runs/{PRESET}/logs/tables/{TRACK}.log",
        params:
            state=GRID.tables_state(TRACK),
        shell:
            f"contrastbench tables --preset {PRESET} --track {TRACK} > {{log}} 2>&1"

    rule:
        name:
            f"ablation_tables_{TRACK}"
        input:
            GRID.ablation_rows(TRACK),
        output:
            GRID.ablation_tables(TRACK),
        log:
            f"runs/{PRESET}/logs/tables/{TRACK}-ablation.log",
        params:
            state=GRID.tables_state(TRACK),
        shell:
            f"contrastbench tables --preset {PRESET} --track {TRACK} --ablation > {{log}} 2>&1"
