"""The protocols on frozen features: of a data set's own encoder, or of one trained on another."""

import numpy as np

from contrastbench.evaluation.knn import fit_knn
from contrastbench.evaluation.labelled import Labelled, is_correct
from contrastbench.evaluation.linear_probe import linear_probe, low_label_probe
from contrastbench.jobs.features_file import SPLITS
from contrastbench.jobs.rows import RowWriter
from contrastbench.params.evaluation import ProbeParams
from contrastbench.results.protocols import Protocol


def judge(rows: RowWriter, params: ProbeParams, splits: dict[str, Labelled], device: str) -> None:
    """Linear probe, low-label probe and kNN: fit on ``train``, choose on ``validation``, judge ``test`` once."""
    train, validation, test = (splits[split] for split in SPLITS)
    result = linear_probe(train, validation, test, params.l2_grid, device=device)
    chosen = {"C": result.strength, "validation_accuracy": result.validation_accuracy}
    rows.accuracy(Protocol(family="linear"), result.correct, chosen)

    for shots in params.low_label_shots:
        results = low_label_probe(
            train,
            validation,
            test,
            params.l2_grid,
            shots=shots,
            draws=params.low_label_draws,
            seed=rows.job.seed,
            device=device,
        )
        draws = [float(result.correct.mean()) for result in results]
        correct = np.concatenate([result.correct for result in results])
        rows.accuracy(Protocol(family="low-label", shots=shots), correct, {"draws": draws})

    knn = fit_knn(train, neighbours=params.knn_neighbours, temperature=params.knn_temperature, device=device)
    rows.accuracy(Protocol(family="knn"), is_correct(knn, test), {"k": params.knn_neighbours})
