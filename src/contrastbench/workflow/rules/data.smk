# Official archives or embedded data -> memory-mapped arrays; sound -> spectrograms.


rule prepare:
    output:
        "data/prepared/{dataset}/meta.json",
    log:
        "data/logs/prepare/{dataset}.log",
    resources:
        **resources_of("prepare"),
        # All presets share prepared data: named in the command's text, or as a parameter, it would make them stale.
        preset=PRESET,
    params:
        state=lambda wildcards: GRID.prepare_state(wildcards.dataset),
    shell:
        "contrastbench prepare {wildcards.dataset} --preset {resources.preset} > {log} 2>&1"


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
