"""What one training step of every method costs at the full sizes of the preset ``paper``: time, memory, whole training.

    python benchmarks/full_size.py [--tracks unremix swaro uamix] [--steps 8] [--json full_size.json] [--device cuda]
                                   [--tiny]

The training loop itself, on random stored examples of the sizes of CIFAR-10 and of the preset's spectrograms, in the
preset's precision; tuning, from a fresh encoder, step by step. A batch is halved as often as the device's memory asks
for. ``whole`` is what the preset's epochs would take at this pace: of 45,000 images; of AudioSet-2M's 2,042,985 clips
for the masked autoencoder, of AudioSet-20K's 20,550 to tune it. ``against`` is a step's time per example beside the
track's first one. ``--tiny`` shows in a few seconds that it runs, not how fast.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from contrastbench.methods import Method, method_class
from contrastbench.methods.contrastive_tuning import ContrastiveTuning
from contrastbench.modalities import modality
from contrastbench.params.audio_track import AudioPretrainParams, AudioTrack, TuneParams
from contrastbench.params.root import load
from contrastbench.params.training import TrainingParams
from contrastbench.registry import WITHOUT_ENCODER
from contrastbench.training.loop import Examples, train

ROOT = Path(__file__).resolve().parent.parent
WARM = 4  # steps before the clock starts: the first ones choose algorithms and fill caches
IMAGES, CLIPS, TUNED_CLIPS = 45_000, 2_042_985, 20_550
CLASSES = 10

Case = tuple[str, Method, Examples, TrainingParams, int]  # label, ..., how many examples an epoch has


def cases(name: str, preset: str, arguments: argparse.Namespace) -> Iterator[Case]:
    """Everything that a track of the preset trains, built as late as possible."""
    track: Any = load(preset, ROOT).track(name)
    draw = np.random.default_rng(0)
    sound = isinstance(track, AudioTrack)
    size = (track.front_end.frames, track.front_end.mels) if sound else (32, 32)
    if sound:
        x: np.ndarray = draw.standard_normal((arguments.rows, *size), np.float32).astype(np.float16)
    else:
        x = draw.integers(0, 256, (arguments.rows, *size, 3), dtype=np.uint8)
    y = draw.integers(0, CLASSES, len(x))
    for label in track.methods:
        if label in WITHOUT_ENCODER:
            continue
        params = track.pretrain(label, track.datasets[0])
        if isinstance(params, AudioPretrainParams):
            params = params.model_copy(update={"checkpoint": None})
        torch.manual_seed(0)
        method = method_class(params.method).from_params(params, (1 if sound else 3, *size), CLASSES)
        if not method.trains:
            continue
        kind = modality(params.modality)
        examples = Examples(x, y if method.uses_labels else None, kind.inputs, kind.augmentation(params.augment))
        if not isinstance(params, TuneParams):
            yield label, method, examples, params.training, CLIPS if sound else IMAGES
            continue
        assert isinstance(method, ContrastiveTuning)
        for part, step in (("head", params.head_step), ("encoder", params.encoder_step)):
            method.begin(step)
            yield f"{label}, {part}", method, examples, step.training, TUNED_CLIPS


def seconds(method: Method, examples: Examples, training: TrainingParams, steps: int, device: str) -> float:
    """The mean time of a step."""
    after, ends = method.after_step, []

    def after_step(step: Any) -> None:
        after(step)
        if step.number + 1 in (WARM, WARM + steps):
            if device == "cuda":
                torch.cuda.synchronize()
            ends.append(time.perf_counter())

    method.after_step = after_step  # type: ignore[method-assign]
    few = {"max_steps": WARM + steps, "epochs": WARM + steps, "log_every_steps": 10**6, "checkpoint_every_steps": 10**6}
    with tempfile.TemporaryDirectory() as folder:
        train(
            method,
            examples,
            training.model_copy(update=few),
            seed=0,
            checkpoint=Path(folder) / "checkpoint",
            identity="",
            device=device,
            show_progress=False,
        )
    method.after_step = after  # type: ignore[method-assign]
    return (ends[1] - ends[0]) / steps


def measure(case: Case, arguments: argparse.Namespace) -> dict[str, Any]:
    """One line of the table."""
    label, method, examples, training, count = case
    wanted = batch = min(training.batch_size, arguments.batch or training.batch_size)
    while True:
        if arguments.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        try:
            taken = seconds(
                method, examples, training.model_copy(update={"batch_size": batch}), arguments.steps, arguments.device
            )
            break
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
            batch //= 2
    examples_an_epoch = count // wanted * wanted
    return {
        "label": label,
        "batch": batch,
        "preset_batch": training.batch_size,
        "precision": training.precision,
        "ms": round(1000 * taken, 2),
        "examples_per_s": round(batch / taken, 1),
        "steps_per_s": round(1 / taken, 3),
        "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if arguments.device == "cuda" else None,
        "whole_hours": round(training.epochs * examples_an_epoch * taken / batch / 3600, 2),
    }


def main() -> None:
    """Measure track by track; print a table and write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tracks", nargs="+", default=["uamix", "swaro", "unremix"])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--json", type=Path, default=Path("full_size.json"))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tiny", action="store_true", help="least sizes, to see that this script works")
    parser.set_defaults(preset="paper", batch=None)
    if parser.parse_args().tiny:
        parser.set_defaults(preset="smoke", batch=8, steps=1, rows=64, json=None)
    arguments = parser.parse_args()
    name = torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu"
    found: dict[str, Any] = {"device": name, "torch": torch.__version__, "tracks": {}}
    for track in arguments.tracks:
        lines: list[dict[str, Any]] = []
        print(f"{name}, {track}, preset {arguments.preset}", flush=True)
        print(f"{'':24}{'B':>6}{'ms / step':>12}{'examples/s':>12}{'against':>9}{'GiB':>8}{'whole, h':>11}")
        for case in cases(track, arguments.preset, arguments):
            lines.append(line := measure(case, arguments))
            ratio = lines[0]["examples_per_s"] / line["examples_per_s"]
            print(
                f"{line['label']:24}{line['batch']:6}{line['ms']:12.1f}{line['examples_per_s']:12,.0f}{ratio:9.2f}"
                f"{line['peak_gib'] or 0:8.1f}{line['whole_hours']:11.1f}",
                flush=True,
            )
            found["tracks"][track] = lines
            if arguments.json is not None:
                arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
