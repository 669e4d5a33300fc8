"""Stage ``low_shot``: logistic regression on frozen features of a few labelled clips per class."""

from collections.abc import Iterator
from itertools import product

import numpy as np

from contrastbench.datasets.store import Prepared
from contrastbench.evaluation.clips import Clips
from contrastbench.evaluation.low_shot import low_shot as fit_and_judge
from contrastbench.evaluation.low_shot import rotate_folds
from contrastbench.jobs.judged import Features, clip_column, clips_of, features_on
from contrastbench.jobs.rows import RowWriter
from contrastbench.jobs.runtime import Runtime
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.results.protocols import Protocol
from contrastbench.results.rows import Row

SPLITS = ("train", "validation", "test")
FAMILIES = {"training": "low-shot", "row": "low-shot-row-centred"}


def low_shot(grid: Grid, job: Job, runtime: Runtime) -> list[Row]:
    """Judge a job's encoder with few labels of a data set: a row for each centring and number of labels per class.

    Every centring meets the same labels. A row's verdicts are those of all draws one after another, and inside a draw
    of all folds.
    """
    params = grid.track(job.track).low_shot
    assert params is not None
    features, data = features_on(grid, job, runtime.device)
    pairs = list(folds(features, data, seen=job.judged == job.dataset))
    rows = RowWriter(grid, "low_shot", job, data.meta.hash)
    for centre, shots in product(params.centres, params.shots):
        draws = [
            np.concatenate(
                [
                    fit_and_judge(
                        train,
                        test,
                        shots=shots,
                        centre=centre,
                        strength=params.strength,
                        rng=np.random.default_rng([job.seed, shots, draw, number]),
                    )
                    for number, (train, test) in enumerate(pairs)
                ]
            )
            for draw in range(params.draws)
        ]
        detail = {"draws": [float(correct.mean()) for correct in draws], "folds": len(pairs)}
        rows.accuracy(Protocol(family=FAMILIES[centre], shots=shots), np.concatenate(draws), detail)
    return rows.rows


def folds(features: Features, data: Prepared, *, seen: bool) -> Iterator[tuple[Clips, Clips]]:
    """Training and test clips: of every official fold in turn where there are folds, else the splits.

    An encoder that was trained on the data set has ``seen`` the training split, so that only its test split is fair.
    """
    fold, group = clip_column(data, SPLITS, "fold"), clip_column(data, SPLITS, "group")
    if fold is None or group is None or seen:
        yield clips_of(features, data, ("train",)), clips_of(features, data, ("test",))
        return
    clips = clips_of(features, data, SPLITS)
    for train, test in rotate_folds(fold, group):
        yield clips.take(train), clips.take(test)
