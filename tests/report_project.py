"""A project with rows and runs of all three systems, for the tests of the report."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from reporting_rows import row, verdicts, write
from safetensors.numpy import save_file

SCRIPT = "<script>alert(1)</script>"  # a class whose name is a folder's

IMAGES = {"random": 0.6, "simclr": 0.8, "hcl": 0.84, "unremix": 0.86}
ROBUST = {"simclr": 0.3, "swaro": 0.6, "pgd-at": 0.7}
AUDIO = {"pixels": 0.4, "mae": 0.5, "uamix-mae": 0.56}


def image_rows() -> list:
    protocols = {"linear": 0.0, "knn": -0.03, "low-label-5": -0.2, "low-label-20": -0.1}
    rows = [
        row(method, seed, correct=verdicts(rate + shift, seed=seed), protocol=protocol)
        for method, rate in IMAGES.items()
        for protocol, shift in protocols.items()
        for seed in range(3)
    ]
    variants = {"uncertainty": 0.82, "similarity": 0.84, "representativeness": 0.8}
    looked = {"stage": "diagnostics", "metric": "false-negatives"}
    ranked = {"simclr": {"random": 0.1, "all": 0.1}, "unremix": {"weights": 0.24, "similarity": 0.41}}
    return [
        *rows,
        *(row(f"unremix-{name}", correct=verdicts(rate)) for name, rate in variants.items()),
        *(
            row(method, seed, share + seed / 100, protocol=f"false-negatives-{score}", **looked)
            for method, shares in ranked.items()
            for score, share in shares.items()
            for seed in range(3)
        ),
    ]


def robust_rows() -> list:
    where = {"track": "swaro", "metric": "robust-top1", "stage": "attack"}
    rows = []
    for method, rate in ROBUST.items():
        head = {} if method == "pgd-at" else {"C": 1.0, "by_C": {"1": [rate + 0.2, rate], "10": [0.95, rate - 0.1]}}
        rows.append(row(method, correct=verdicts(0.9), protocol="clean", track="swaro", stage="attack", **head))
        for eps in (0.05, 0.1, 0.2):
            failed = {"failed_checks": ["gradients are masked"]} if method == "simclr" and eps == 0.2 else {}
            for attack, gain in (("pgd-20-linf", 0.05), ("worst-case-linf", 0.0)):
                stands = verdicts(max(0.05, rate + gain - eps))
                rows.append(row(method, correct=stands, protocol=f"{attack}@{eps}", **where, **failed))
        distance = {"protocol": "cw-l2", "metric": "median-distance"}
        rows.append(row(method, value=2 * rate, **where | distance))
        carried = where | {"stage": "transfer_attack"}
        rows += [row(method, correct=verdicts(rate), protocol=f"transfer-from-{s}@0.1", **carried) for s in ROBUST]
    return rows


def audio_rows() -> list:
    where = {"track": "uamix", "dataset": "instruments", "stage": "few_shot"}
    attacked = where | {"stage": "audio_attack"}
    protocols = {"audio-clean": 0.0, "audio-pgd-20-spectrogram@0.05": -0.1, "audio-pgd-20-spectrogram@0.1": -0.2}
    protocols |= {"audio-pgd-20-waveform@20dB": -0.2, "audio-pgd-20-waveform@40dB": -0.1}
    return [
        row(method, seed, correct=verdicts(rate + gain, 100, seed), protocol=protocol, **attacked)
        for method, rate in AUDIO.items()
        for protocol, gain in protocols.items()
        for seed in range(2)
        if method != "pixels"
    ] + [
        row(method, seed, rate + 0.05 * shots + 0.01 * seed, protocol=f"few-shot-5-way-{shots}-shot-{kind}", **where)
        for method, rate in AUDIO.items()
        for shots in (1, 5)
        for kind in ("centroid", "cl2n")
        for seed in range(2)
    ]


def training_run(root: Path, method: str, seed: int, weights: tuple | None = None) -> None:
    folder = root / "runs/default/pretrain/unremix/mnist5k" / method / str(seed)
    folder.mkdir(parents=True)
    settings = {"temperature": 0.5} | ({"weights": list(weights)} if weights else {})
    (folder / "run.json").write_text(json.dumps({"params": {"settings": settings}, "torch": "2.13.0"}))
    epochs = np.arange(1, 6)
    history = {"step": epochs * 10, "epoch": epochs, "loss": 5 / epochs + seed, "effective_rank": 10 + epochs}
    if weights:
        history |= {"gradient_cosine": 1 - epochs / 100, "gradient_cosine_best": 1 - epochs / 200}
        history |= {"gradient_norm_ratio": 1 + epochs / 10, "best_temperature": epochs / 10}
    pd.DataFrame({} if method == "random" else history).to_csv(folder / "history.csv", index=False)


def make_project(root: Path) -> Path:
    """Rows and runs of all three tracks."""
    write(root, [*image_rows(), *robust_rows(), *audio_rows()])
    third = (1 / 3, 1 / 3, 1 / 3)
    for seed in range(2):
        training_run(root, "simclr", seed)
        training_run(root, "unremix", seed, third)
        training_run(root, "random", seed)
    for index, name in enumerate(("uncertainty", "similarity", "representativeness")):
        training_run(root, f"unremix-{name}", 0, tuple(np.eye(3)[index]))
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 120)
    data = root / "data/prepared/mnist5k"
    data.mkdir(parents=True)
    np.save(data / "test_y.npy", labels)
    (data / "meta.json").write_text(json.dumps({"classes": ["zero", "one", SCRIPT]}))
    for method, separation in (("random", 0.3), ("unremix", 3.0)):
        folder = root / "runs/default/features/unremix/mnist5k" / method / "0"
        folder.mkdir(parents=True)
        features = rng.normal(size=(120, 6)) + separation * np.eye(6)[labels]
        save_file({"test": features}, folder / "features.safetensors")
    pictures = root / "runs/default/figures"
    pictures.mkdir()
    Image.fromarray(rng.integers(0, 255, (40, 120, 3), dtype=np.uint8)).save(pictures / "adversarial-examples.png")
    timing = root / "runs/default/benchmarks/pretrain"
    timing.mkdir(parents=True)
    (timing / "unremix-mnist5k-simclr-0.tsv").write_text("s\tmax_rss\tcpu_time\n12.5\t345.6\t12.0\n")
    (timing / "unremix-mnist5k-simclr-1.tsv").write_text("s\tmax_rss\tcpu_time\n7.5\t-\t7.0\n")
    return root
