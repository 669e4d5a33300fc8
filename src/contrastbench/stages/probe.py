"""Stage ``probe``: linear probe, low-label probe and kNN on cached features."""

from pathlib import Path

import numpy as np
import torch

from contrastbench.datasets.store import Prepared, open_prepared
from contrastbench.errors import UserError
from contrastbench.evaluation.knn import knn_predict
from contrastbench.evaluation.linear_probe import Labelled, linear_probe, low_label_probe
from contrastbench.params.evaluation import ProbeParams
from contrastbench.pipeline.layout import Job
from contrastbench.stages.context import RowWriter
from contrastbench.stages.features import read_features


def labelled(features: dict[str, np.ndarray], data: Prepared, split: str) -> Labelled:
    """Features and labels of one split; their counts must agree."""
    if len(features[split]) != len(data.y(split)):
        raise UserError(f"{split}: {len(features[split])} features for {len(data.y(split))} labels; extract them again")
    return Labelled(features[split], np.asarray(data.y(split)))


def probe(
    rows: RowWriter, job: Job, params: ProbeParams, features_folder: Path, data_folder: Path, failed_checks: list[str]
) -> None:
    """Judge one method's features by every frozen-feature protocol and write a row for each.

    ``failed_checks`` (a collapsed encoder, say) are carried into every row, so that no table hides them.
    """
    data = open_prepared(data_folder)
    cached = read_features(features_folder)
    train, validation, test = (labelled(cached, data, split) for split in ("train", "validation", "test"))
    common = {"failed_checks": failed_checks} if failed_checks else {}

    result = linear_probe(train, validation, test, params.l2_grid, job.seed)
    chosen = {"C": result.strength, "validation_accuracy": result.validation_accuracy}
    rows.accuracy("linear", result.correct, common | chosen)

    for shots in params.low_label_shots:
        results = low_label_probe(
            train, validation, test, params.l2_grid, shots=shots, draws=params.low_label_draws, seed=job.seed
        )
        draws = [float(result.correct.mean()) for result in results]
        rows.accuracy(
            f"low-label-{shots}", np.concatenate([result.correct for result in results]), common | {"draws": draws}
        )

    predicted = knn_predict(
        torch.from_numpy(train.features),
        torch.from_numpy(train.labels),
        torch.from_numpy(test.features),
        neighbours=params.knn_neighbours,
        temperature=params.knn_temperature,
    )
    rows.accuracy("knn", predicted.numpy() == test.labels, common | {"k": params.knn_neighbours})
