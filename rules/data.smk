# Official archives or embedded data -> memory-mapped arrays; sound -> spectrograms.


rule prepare:
    output:
        "data/prepared/{dataset}/meta.json",
    log:
        "data/logs/prepare/{dataset}.log",
    resources:
        **resources_of("prepare"),
    params:
        state=lambda wildcards: GRID.prepare_state(wildcards.dataset),
    shell:
        f"contrastbench prepare {{wildcards.dataset}} --preset {PRESET} > {{log}} 2>&1"


rule spectrograms:
    input:
        "data/prepared/{dataset}/meta.json",
    output:
        str(GRID.layout.spectrograms("{track}", "{dataset}") / "meta.json"),
    log:
        f"data/logs/spectrograms/{PRESET}/{{track}}/{{dataset}}.log",
    resources:
        **resources_of("spectrograms"),
    params:
        state=lambda wildcards: GRID.spectrogram_state(wildcards.track),
    shell:
        "contrastbench spectrograms {wildcards.track} {wildcards.dataset}"
        f" --preset {PRESET} > {{log}} 2>&1"
