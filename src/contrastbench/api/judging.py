"""Judges an encoder by the protocols of the pipeline, on a prepared data set or on arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from contrastbench.api.encoders import SoundEncoder, TrainedEncoder, device_of, embed
from contrastbench.api.project import Project, inside
from contrastbench.datasets.base import Split
from contrastbench.datasets.store import Meta, Prepared, SplitFacts, carve_validation, open_prepared
from contrastbench.errors import UserError
from contrastbench.evaluation.features import extract_features
from contrastbench.evaluation.few_shot import few_shot_accuracies, sample_episodes
from contrastbench.evaluation.intervals import mean_interval
from contrastbench.evaluation.low_shot import low_shot
from contrastbench.evaluation.scaling import fit_scaling
from contrastbench.jobs.encode import Features
from contrastbench.jobs.episodes import drawn_from
from contrastbench.jobs.features_file import SPLITS, examples
from contrastbench.jobs.frozen import judge
from contrastbench.jobs.rows import RowWriter
from contrastbench.modalities import modality_of
from contrastbench.params.root import DEFAULT
from contrastbench.params.track import TrackParams
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.registry import hint, modality_name
from contrastbench.results.protocols import Protocol
from contrastbench.stages.low_shot import FAMILIES, folds
from contrastbench.training.seeds import generator_for

PROBES = ("linear", "knn", "low-label")  # what jobs/frozen.py judges by
KNOWN = (*PROBES, "few-shot", "low-shot")
ARRAYS = "arrays"  # what a data set is called that is given


def evaluate(
    encoder: nn.Module,
    dataset: str | Mapping[str, tuple[Any, Any]],
    protocols: str | Sequence[str] = PROBES,
    *,
    preset: str = DEFAULT,
    project: Project = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Judge frozen features by protocols of the pipeline: a line for each, with its 95 % interval ``low`` to ``high``.

    encoder    what :func:`load_encoder` returns, or any module that :func:`embed` takes
    dataset    the name of a data set that ``contrastbench prepare NAME`` has prepared (and, for a trained encoder of
               sound, ``contrastbench spectrograms``); or a mapping of the splits ``train``, ``validation`` and
               ``test`` to (examples, labels). Without ``validation``, that is carved out of ``train`` as by ``prepare``
    protocols  of ``linear``, ``knn``, ``low-label``, ``few-shot``, ``low-shot``
    preset     whose parameters say how they judge: those of its first track of such data. A trained encoder goes by
               its own preset, track and project
    project    the project folder; the working directory if not given
    seed       of the labels and episodes that are drawn

    Every choice is made on ``validation``; ``test`` is judged once. A trained encoder's values on its data are those of
    its rows.

    Raises UserError for what is not known or not prepared, and for a protocol that the track has no section for.
    """
    wanted = [protocols] if isinstance(protocols, str) else [*protocols]
    for name in wanted:
        if name not in KNOWN:
            raise UserError(f"unknown protocol {name!r}; {hint(name, KNOWN)}")
    origin = encoder.origin if isinstance(encoder, TrainedEncoder) else None
    with inside(origin.project if origin else project):
        grid = Grid(origin.preset if origin else preset)
        fraction = grid.params.data.validation_fraction  # and the data sets that are declared there are known
        kind = modality_name(dataset) if isinstance(dataset, str) else _kind_of(dataset)
        track = _track(grid, kind, origin.job.track if origin else None)
        if isinstance(dataset, str):
            own = isinstance(encoder, SoundEncoder)
            data = open_prepared(grid.data_folder(track, dataset) if own else grid.layout.prepared(dataset))
            features = _features(encoder, data)
        else:
            data, features = _of_arrays(encoder, dataset, fraction)
            if set(wanted) & set(PROBES):
                _require_learnt(data)
        found = _Found(data.meta.name, seed)
        section, seen = grid.track(track), origin is not None and dataset == origin.job.dataset
        if set(wanted) & set(PROBES):
            _probes(found, section, features, data, wanted, str(device_of(encoder)))
        if "few-shot" in wanted:
            _few_shot(found, section, features, data, seen)
        if "low-shot" in wanted:
            _low_shot(found, section, features, data, seen)
    return pd.DataFrame(found.lines)


class _Found(RowWriter):
    """The lines of the frame, in place of rows."""

    def __init__(self, dataset: str, seed: int) -> None:
        self.job = Job("", dataset, seed=seed)
        self.lines: list[dict[str, Any]] = []

    def value(
        self,
        protocol: Protocol,
        metric: str,
        value: float,
        n: int,
        interval: tuple[float, float] | None = None,
        correct: str | None = None,
        detail: dict | None = None,
        failed: Sequence[str] = (),
    ) -> None:
        """Add one line."""
        low, high = interval or (None, None)
        about = {"dataset": self.job.dataset, "protocol": protocol.name, "metric": metric}
        self.lines.append(about | {"value": value, "low": low, "high": high, "n": n})


class _Given(Prepared):
    """Labels (N,) of each split, as if they had been prepared; the examples stay with the caller."""

    def __init__(self, labels: Mapping[str, np.ndarray], modality: str, classes: np.ndarray) -> None:
        facts = {split: SplitFacts(count=len(y), arrays={}) for split, y in labels.items()}
        about = {"name": ARRAYS, "modality": modality, "classes": classes.astype(str).tolist(), "splits": facts}
        unsaid = dict.fromkeys(("source", "licence", "split_rule", "hash"), "")
        super().__init__(Path(ARRAYS), Meta.model_validate(about | unsaid))
        self._labels = labels

    def y(self, split: str) -> np.ndarray:
        """Class numbers (N,)."""
        return self._labels[split]


def _kind_of(dataset: Mapping[str, tuple[Any, Any]]) -> str:
    """The modality of given arrays: waves (N, S), or a list of them, are sound."""
    known = ("train", "validation", "test")
    for split in dataset:
        if split not in known:
            raise UserError(f"{ARRAYS}: unknown split {split!r}; {hint(split, known)}")
    for split in ("train", "test"):
        if split not in dataset:
            raise UserError(f"{ARRAYS}: no split {split!r}; give {{'train': (examples, labels), 'test': ...}}")
    for split, pair in dataset.items():
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not all(map(np.ndim, pair)) or not len(pair[0]):
            raise UserError(f"{ARRAYS}: {split}: must be (examples, labels), at least one of each")
    return "audio" if np.ndim(dataset["train"][0][0]) == 1 else "image"


def _track(grid: Grid, kind: str, own: str | None) -> str:
    """The track whose parameters say how data of a kind are judged: an encoder's ``own``, else the preset's first."""
    if own is not None:
        if grid.track(own).modality != kind:
            raise UserError(f"the encoder takes {grid.track(own).modality} data, not {kind} data")
        return own
    for name in grid.params.tracks:
        if kind != "graph" and grid.track(name).modality == kind:
            return name
    raise UserError(f"preset {grid.preset!r}: no track judges {kind} data from Python")


def _features(encoder: nn.Module, data: Prepared) -> Features:
    """Features of every labelled split: of spectrograms a row per segment, of sound one per clip."""
    found = {}
    for split, facts in data.meta.splits.items():
        if split == "unlabeled":
            continue
        if isinstance(encoder, SoundEncoder):
            kind = modality_of(data)
            rows = kind.examples(data, split)
            found[split] = extract_features(encoder.network, rows, kind.inputs, device=device_of(encoder))
        elif "offsets" in facts.arrays:
            found[split] = embed(encoder, np.split(data.x(split), data.column(split, "offsets")[1:-1]))
        else:
            found[split] = embed(encoder, data.x(split))
    return found


def _of_arrays(encoder: nn.Module, given: Mapping[str, tuple[Any, Any]], fraction: float) -> tuple[Prepared, Features]:
    """Given arrays as data, and their features."""
    for split, (rows, labels) in given.items():
        if np.ndim(labels) != 1 or len(rows) != len(labels):
            raise UserError(f"{ARRAYS}: {split}: {len(rows)} examples, and labels of shape {list(np.shape(labels))}")
        if pd.isna(np.asarray(labels)).any():
            raise UserError(f"{ARRAYS}: {split}: an example has no label; leave it out")
    classes = np.unique(np.concatenate([np.asarray(labels) for _, labels in given.values()]))
    splits = {
        split: Split(embed(encoder, rows), np.searchsorted(classes, labels)) for split, (rows, labels) in given.items()
    }
    if "validation" not in splits:
        splits["train"], splits["validation"] = carve_validation(splits["train"], fraction)
    labels = {split: np.asarray(each.y) for split, each in splits.items()}
    return _Given(labels, _kind_of(given), classes), {split: each.x for split, each in splits.items()}


def _require_learnt(data: Prepared) -> None:
    """Refuse labels that no probe can give."""
    for split in ("validation", "test"):
        if len(unknown := np.setdiff1d(np.asarray(data.y(split)), np.asarray(data.y("train")))):
            raise UserError(f"{ARRAYS}: {split}: no example in train has the label {data.meta.classes[unknown[0]]!r}")


def _probes(
    found: _Found, section: TrackParams, features: Features, data: Prepared, wanted: list[str], device: str
) -> None:
    """As the stage probe; linear probe and nearest neighbours, which take little time, are left out afterwards."""
    params = section.probe
    if "low-label" not in wanted:
        params = params.model_copy(update={"low_label_shots": ()})
    judge(found, params, {split: examples(features, data, split) for split in SPLITS}, device)
    found.lines = [line for line in found.lines if line["protocol"].startswith(tuple(wanted))]


def _few_shot(found: _Found, section: TrackParams, features: Features, data: Prepared, seen: bool) -> None:
    """As the stage few_shot (jobs/episodes.py), which reads features from files."""
    params, judged, cpu = section.few_shot, found.job.dataset, torch.device("cpu")
    if params is None:
        raise _no_section(section, "few_shot")
    clips, base, sources = drawn_from(features, data, params.class_of.get(judged, "y"), "novel", seen=seen)
    base_rows = base.segment_rows()[0]
    scale = fit_scaling(base_rows, params.features)
    clips, base_mean = replace(clips, features=scale(clips.features)), scale(base_rows).mean(axis=0)
    for shots in params.shots:
        episodes = sample_episodes(
            clips.labels,
            sources=sources,
            way=params.way,
            shots=shots,
            queries=params.queries,
            count=params.episodes,
            generator=generator_for(cpu, "novel episodes", judged, found.job.seed, shots),
        )
        for classifier in params.classifiers:
            segments = generator_for(cpu, "novel segments", judged, found.job.seed, shots)
            accuracies = few_shot_accuracies(
                clips, episodes, classifier, base_mean=base_mean, l2=params.l2, generator=segments
            )
            value, interval = mean_interval(accuracies)
            protocol = Protocol(family="few-shot", way=params.way, shots=shots, classifier=classifier)
            found.value(protocol, "top1", value, params.episodes, interval)


def _low_shot(found: _Found, section: TrackParams, features: Features, data: Prepared, seen: bool) -> None:
    """As the stage low_shot, which reads features from files."""
    params = section.low_shot
    if params is None:
        raise _no_section(section, "low_shot")
    pairs = list(folds(features, data, seen=seen))
    for centre, shots in product(params.centres, params.shots):
        draws = product(range(params.draws), enumerate(pairs))
        correct = [
            low_shot(
                train,
                test,
                shots=shots,
                centre=centre,
                strength=params.strength,
                rng=np.random.default_rng([found.job.seed, shots, draw, number]),
            )
            for draw, (number, (train, test)) in draws
        ]
        found.accuracy(Protocol(family=FAMILIES[centre], shots=shots), np.concatenate(correct))


def _no_section(section: TrackParams, name: str) -> UserError:
    return UserError(f"track {section._name!r} has no section `{name}`, which says how to judge; add it to params.yaml")
