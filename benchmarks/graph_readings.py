"""Which reading of a method's log on graphs gives which accuracy: the last epoch's, or one chosen by test accuracy.

    python benchmarks/graph_readings.py [--data FOLDER] [--method infograph] [--seeds 10] [--every 1] [--tiny]

A method is trained with the parameters of params.yaml and judged after every so many epochs, by the published protocol
in the folds of its seed, whose test parts are all graphs. InfoGraph's code logs every epoch, GraphCL's every tenth; the
former logs three more classifiers, here scikit-learn's with their defaults, after the last epoch. What is printed are
mean accuracies over seeds, and their standard deviations. This suite's rows are the reading "last epoch". Readings that
are marked have seen the labels of test graphs: they are no estimate of accuracy on other graphs.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from graphs import ROOT, made
from sklearn.base import ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import LinearSVC

from contrastbench.datasets.graph_store import StoredGraphs
from contrastbench.datasets.store import open_prepared
from contrastbench.evaluation.features import extract_features
from contrastbench.evaluation.folds import Fold, svm_verdicts
from contrastbench.methods import method_class
from contrastbench.modalities import modality
from contrastbench.params.graph_track import GraphPretrainParams, GraphTrack
from contrastbench.params.root import load
from contrastbench.training.curve import LearningCurve
from contrastbench.training.loop import Examples, train
from contrastbench.training.seeds import seed_for

CHOSEN = "chosen by test accuracy"


def accuracies(
    graphs: StoredGraphs, labels: np.ndarray, track: GraphTrack, params: GraphPretrainParams, seed: int, every: int
) -> tuple[list[float], list[float]]:
    """In per cent: the support vector machine's before training and after every so many epochs, and others' at last."""
    kind = modality("graph")
    split = StratifiedKFold(track.folds.outer, shuffle=True, random_state=seed).split(labels, labels)
    folds = [Fold(train, test, seed) for train, test in split]

    def features(encoder: torch.nn.Module) -> np.ndarray:
        return extract_features(encoder, graphs, kind.inputs, device=torch.device("cpu"))

    def svm(encoder: torch.nn.Module) -> float:
        return 100 * float(np.mean(svm_verdicts(features(encoder), labels, folds, track.folds).accuracies))

    torch.manual_seed(seed_for("init", seed))
    method = method_class(params.method).from_params(params, (graphs.kinds,), int(labels.max()) + 1)
    found = [svm(method.encoder)]
    with tempfile.TemporaryDirectory() as folder:
        log = train(
            method,
            Examples(graphs, None, kind.inputs, kind.augmentation(params.augment)),
            params.training,
            seed=seed,
            checkpoint=Path(folder) / "checkpoint",
            identity="",
            show_progress=False,
            curve=LearningCurve("svm", every, svm),
        )
    found += [entry["svm"] for entry in log.history if "svm" in entry]
    x = features(method.encoder)
    others = (LogisticRegression(max_iter=1000), LinearSVC(dual=False), RandomForestClassifier(random_state=seed))
    return found, [100 * fold_mean(model, x, labels, folds) for model in others]


def fold_mean(model: ClassifierMixin, x: np.ndarray, labels: np.ndarray, folds: list[Fold]) -> float:
    """Mean accuracy over the folds."""
    fitted = (model.fit(x[fold.train], labels[fold.train]).score(x[fold.test], labels[fold.test]) for fold in folds)
    return float(np.mean(list(fitted)))


def show(reading: str, values: np.ndarray) -> None:
    """Print the mean and the standard deviation of one value per seed."""
    print(f"{reading:<64}{values.mean():6.1f} ± {values.std(ddof=1):.1f}", flush=True)


def main() -> None:
    """Train, judge, and print every reading."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT / "data/prepared/mutag", help="prepared graphs")
    parser.add_argument("--method", default="infograph")
    parser.add_argument("--seeds", type=int, default=10, help="0 to one less than this, at least two")
    parser.add_argument("--every", type=int, default=1, help="epochs from one entry of the log to the next")
    parser.add_argument("--tiny", action="store_true", help="least sizes, to see that this script works")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    track = load(root=ROOT).track("graphs")
    assert isinstance(track, GraphTrack)
    if arguments.tiny:
        name, seeds, (graphs, labels) = "made", 2, made(130)
    else:
        data = open_prepared(arguments.data)
        name, seeds = data.meta.name, arguments.seeds
        graphs, labels = StoredGraphs.of(data, "train"), np.asarray(data.y("train"))
    params = track.pretrain(arguments.method, name)
    if arguments.tiny:
        params = params.model_copy(update={"training": params.training.model_copy(update={"epochs": 1})})
        track = track.model_copy(update={"folds": track.folds.model_copy(update={"outer": 2, "inner": 2})})
    logs, others = zip(
        *(accuracies(graphs, labels, track, params, seed, arguments.every) for seed in range(seeds)), strict=True
    )
    log = np.array(logs)  # (seeds, entries)
    by_epoch = log.mean(axis=0)
    best = int(by_epoch.argmax())
    print(f"{name}, {arguments.method}, {seeds} seeds; log: {' '.join(f'{mean:.1f}' for mean in by_epoch)}")
    show("before training", log[:, 0])
    show("last epoch", log[:, -1])
    show(f"entry {best} of the log for all seeds, {CHOSEN}", log[:, best])
    show(f"an entry of the log for each seed, {CHOSEN}", log.max(axis=1))
    show(f"last epoch, a classifier for each seed, {CHOSEN}", np.column_stack([log[:, -1], others]).max(axis=1))


if __name__ == "__main__":
    main()
