"""Whether the user's own data are enough for what the parameters ask of them, before anything is trained."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from contrastbench.datasets.store import Prepared
from contrastbench.errors import UserError
from contrastbench.params.audio_track import AudioTrack
from contrastbench.params.graph_track import GraphTrack
from contrastbench.params.image_track import ImageTrack
from contrastbench.params.track import TrackParams
from contrastbench.pipeline.grid import Grid

Labels = Mapping[str, np.ndarray]
Lengths = Mapping[str, np.ndarray]
WINDOW, SHIFT = 400, 160  # samples of the log-mel front end (augment/log_mel.py, which needs torch)


def check_enough(
    grid: Grid,
    dataset: str,
    labels: Labels,
    path: Path | None,
    lengths: Lengths | None = None,
    groups: np.ndarray | None = None,
) -> None:
    """Refuse parameters that ask more of the user's own data than there is, in one line that names them all.

    ``labels`` are the class numbers of each split, ``path`` is where data lie that are declared; ``lengths`` are those
    of clips, in samples, once they are decoded: training sees the segments that they are cut into. ``groups`` are those
    of the test split: an episode has no other clips of its queries' groups.
    """
    told = [
        f"{track}.{key} = {value}, {most}"
        for track in grid.params.tracks
        if dataset in grid.track(track).datasets
        for key, value, most in _too_much(grid.track(track), dataset, labels, lengths, groups)
    ]
    if told:
        counts = ", ".join(f"{split} {len(y)}" for split, y in labels.items())
        grouped = getattr(grid.params.datasets.get(dataset), "group", None)  # of which `inspect` knows nothing
        remedy = "" if grouped or path is None else f"; `contrastbench inspect {path}` prints a preset that fits"
        raise UserError(f"{dataset} ({counts}) is too small for {'; '.join(told)}{remedy}")


def check_prepared(grid: Grid, dataset: str, data: Prepared, path: Path | None = None) -> None:
    """:func:`check_enough` of what is prepared, where all of it is in train, validation and test, with labels."""
    train = data.meta.splits["train"].arrays
    if "y" in train and "role" not in train and "unlabeled" not in data.meta.splits:
        check_enough(grid, dataset, labels_of(data), path, lengths_of(data), groups_of(data))


def lengths_of(data: Prepared) -> dict[str, np.ndarray] | None:
    """The lengths of prepared clips, in samples, of each split; None where it is no sound."""
    if data.meta.modality != "audio":
        return None
    return {split: np.diff(data.column(split, "offsets")) for split in data.meta.splits}


def groups_of(data: Prepared) -> np.ndarray | None:
    """The groups of the test split of prepared data; None where it has none."""
    split = data.meta.splits.get("test")
    return None if split is None or "group" not in split.arrays else data.column("test", "group")


def labels_of(data: Prepared) -> dict[str, np.ndarray]:
    """The class numbers of each labelled split of prepared data."""
    found = {split: data.y(split) for split in data.meta.splits}
    return {split: np.asarray(y) for split, y in found.items() if y is not None}


def fewest(y: np.ndarray) -> int:
    """How many examples the smallest class has, of those that are there."""
    return int(np.unique(y, return_counts=True)[1].min(initial=len(y)))


def _too_much(
    section: TrackParams, dataset: str, labels: Labels, lengths: Lengths | None, groups: np.ndarray | None
) -> Iterator[tuple[str, Any, str]]:
    """Key, value, and what would be right, of what the parameters ask too much of."""
    train, test = labels["train"], labels.get("test", labels["train"])
    if isinstance(section, ImageTrack) and section.training.batch_size > len(train):
        yield "training.batch_size", section.training.batch_size, f"at most {len(train)}"
    if isinstance(section, GraphTrack):
        yield from _too_many_graphs(section, dataset, train)
    shots = [*section.probe.low_label_shots]
    if max(shots, default=0) > fewest(train) and not isinstance(section, GraphTrack):
        yield "probe.low_label_shots", shots, f"at most {fewest(train)}, of the smallest class"
    wanted = section.corruptions and section.corruptions.images
    if wanted and wanted > len(test):
        yield "corruptions.images", wanted, f"at most {len(test)}, or null for all"
    if isinstance(section, AudioTrack):
        yield from _too_few_shots(section, dataset, train, test, groups)
        yield from _too_few_segments(section, dataset, lengths) if lengths else ()


def _too_few_shots(
    section: AudioTrack, dataset: str, train: np.ndarray, test: np.ndarray, groups: np.ndarray | None
) -> Iterator[tuple[str, Any, str]]:
    few, low = section.few_shot, section.low_shot
    if few is not None and dataset in few.datasets.get(dataset, ()) and few.class_of.get(dataset, "y") == "y":
        classes = len(np.unique(test))
        if few.way > classes:
            yield "few_shot.way", few.way, f"at most {classes}, the classes"
        groups = np.arange(len(test)) if groups is None else groups
        most = min(int(np.sort(sizes)[: -few.queries].sum()) for sizes in _sizes(test, groups))
        if max(few.shots) > most:
            at_most = f"at most {most}" if most > 0 else "none is left"
            beside = f"{at_most} beside queries {few.queries} and clips of their groups (few_shot: null leaves it out)"
            yield "few_shot.shots", [*few.shots], beside
    if low is not None and dataset in low.datasets.get(dataset, ()) and max(low.shots) > fewest(train):
        yield "low_shot.shots", [*low.shots], f"at most {fewest(train)}, of the smallest class"


def _sizes(y: np.ndarray, groups: np.ndarray) -> Iterator[np.ndarray]:
    """How many examples each group of a class has, for each class."""
    for number in np.unique(y):
        yield np.unique(groups[y == number], return_counts=True)[1]


def _too_few_segments(section: AudioTrack, dataset: str, lengths: Lengths) -> Iterator[tuple[str, Any, str]]:
    frames, most = section.front_end.frames, section.front_end.segments
    whole = {split: (1 + np.maximum(of - WINDOW, 0) // SHIFT) / frames for split, of in lengths.items()}
    count = int(np.clip(np.floor(whole["train"] + 0.5), 1, most).sum())
    steps = section.tuning
    for key, training in (
        ("pretraining", section.pretraining.training),
        ("tuning.head_step", steps.head_step.training),
        ("tuning.encoder_step", steps.encoder_step.training),
    ):
        if training.batch_size > count:
            yield f"{key}.training.batch_size", training.batch_size, f"at most {count}, the segments of train"
    attack = section.audio_attack
    if attack is not None and dataset in attack.datasets.get(dataset, ()) and (whole["test"] < 1).all():
        yield "front_end.frames", frames, "no test clip is as long, for audio_attack, which null leaves out"


def _too_many_graphs(section: GraphTrack, dataset: str, train: np.ndarray) -> Iterator[tuple[str, Any, str]]:
    for host in ("graphcl", "infograph"):
        size = getattr(section.training, host).batch_size
        if dataset not in section.batches and size > len(train):
            yield f"training.{host}.batch_size", size, f"at most {len(train)}; say it under batches.{dataset}"
    if section.folds.outer > fewest(train):
        yield "folds.outer", section.folds.outer, f"at most {fewest(train)}, of the smallest class"
