# Tune the audio masked autoencoder of the same data set and seed.


rule tune:
    input:
        lambda wildcards: GRID.data_folder(job_of(wildcards)) / "meta.json",
        lambda wildcards: GRID.layout.run(
            "pretrain",
            Job(
                wildcards.track,
                wildcards.dataset,
                GRID.pretrain_params(job_of(wildcards)).start.method,
                int(wildcards.seed),
            ),
        )
        / "model.safetensors",
    output:
        model=f"{run('tune')}/model.safetensors",
        history=f"{run('tune')}/history.csv",
        record=f"{run('tune')}/run.json",
    log:
        log_of("tune"),
    benchmark:
        benchmark_of("tune")
    threads: 1
    resources:
        mem_mb=2500,
        gpu=1 if DEVICE == "cuda" else 0,
    params:
        state=lambda wildcards: GRID.state(
            "tune", job_of(wildcards), GRID.pretrain_params(job_of(wildcards))
        ),
    shell:
        "contrastbench tune {wildcards.track} {wildcards.dataset} {wildcards.method} {wildcards.seed}"
        f" --preset {PRESET} --device {DEVICE} > {{log}} 2>&1"
