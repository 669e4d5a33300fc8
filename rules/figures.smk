# Trained encoders and classifiers -> still images for the report's gallery.


for TRACK in GRID.params.tracks:
    # Every data set of a track has the same images.
    STILLS = list(dict.fromkeys(file.name for file in GRID.figure_files(TRACK)))
    if STILLS:

        rule:
            name:
                f"figures_{TRACK}"
            input:
                lambda wildcards, track=TRACK: GRID.figure_inputs(
                    track, wildcards.dataset, int(wildcards.seed)
                ),
            output:
                [
                    f"runs/{PRESET}/figures/{TRACK}/{{dataset}}/seed-{{seed}}/{name}"
                    for name in STILLS
                ],
            log:
                f"runs/{PRESET}/logs/figures/{TRACK}-{{dataset}}-{{seed}}.log",
            benchmark:
                f"runs/{PRESET}/benchmarks/figures/{TRACK}-{{dataset}}-{{seed}}.tsv"
            threads: 1
            resources:
                mem_mb=2500,
                gpu=1 if DEVICE == "cuda" else 0,
            params:
                track=TRACK,
                state=lambda wildcards, track=TRACK: GRID.figures_state(
                    track, wildcards.dataset, int(wildcards.seed)
                ),
            shell:
                "contrastbench figures {params.track} {wildcards.dataset} {wildcards.seed}"
                f" --preset {PRESET} --device {DEVICE} > {{log}} 2>&1"
