# Official archives or embedded data -> memory-mapped arrays.


rule prepare:
    output:
        meta="data/prepared/{dataset}/meta.json",
    log:
        "data/logs/prepare/{dataset}.log",
    resources:
        mem_mb=4000,
    params:
        state=lambda wildcards: GRID.data_state(wildcards.dataset),
    shell:
        "contrastbench prepare {wildcards.dataset} > {log} 2>&1"
