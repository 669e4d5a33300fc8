"""Stratified cross-validation of graphs (specification of graphs, section 6).

Each graph is tested once per seed. Whatever is chosen for a fold is chosen inside its training part, so that neither
features nor labels of its test part decide anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.svm import SVC

from contrastbench.datasets.store import About
from contrastbench.errors import UserError
from contrastbench.evaluation.labelled import Labelled
from contrastbench.evaluation.linear_probe import ProbeResult
from contrastbench.params.graphs import FoldsParams


@dataclass(frozen=True)
class Fold:
    """Sorted positions of the graphs of its training part and of its test part."""

    train: np.ndarray
    test: np.ndarray

    def parts(self, examples: Labelled, inner: int, seed: int) -> tuple[Labelled, Labelled, Labelled]:
        """Training, validation and test examples: one of ``inner`` stratified folds of the training part validates."""
        within = StratifiedKFold(inner, shuffle=True, random_state=seed)
        train, validation = next(within.split(self.train, examples.labels[self.train]))
        return (
            _take(examples, self.train[train]),
            _take(examples, self.train[validation]),
            _take(examples, self.test),
        )

    def whole(self, examples: Labelled) -> tuple[Labelled, Labelled]:
        """The whole training part and the test part, for what has nothing to choose."""
        return _take(examples, self.train), _take(examples, self.test)


@dataclass(frozen=True)
class FoldVerdicts:
    """What one protocol found in several folds.

    correct     (n,) bool: whether each tested graph was classified correctly, in the order of the graphs
    accuracies  of each fold
    strengths   what was chosen in each fold: C
    """

    correct: np.ndarray
    accuracies: list[float]
    strengths: list[float]

    @property
    def detail(self) -> dict[str, Any]:
        """For a row: the published value is the mean over folds, ``fold_mean``; the row's own is over graphs."""
        accuracies = self.accuracies
        return {
            "folds": len(accuracies),
            "fold_mean": float(np.mean(accuracies)),
            "fold_accuracies": accuracies,
            "fold_C": self.strengths,
        }


def stratified_folds(labels: np.ndarray, params: FoldsParams, seed: int, about: About) -> list[Fold]:
    """The ``params.outer`` folds of a seed, with the same share of every class of ``labels`` (N,).

    A UserError names the class that has too few graphs for so many outer folds, or for the inner ones of a fold.
    """
    present, counts = np.unique(labels, return_counts=True)
    if len(present) < 2:
        raise UserError(f"{about.name}: all graphs are of class {about.classes[present[0]]!r}: nothing to tell apart")
    _require("folds.outer", params.outer, about, present, counts, "")
    split = StratifiedKFold(params.outer, shuffle=True, random_state=seed).split(labels, labels)
    folds = [Fold(train, test) for train, test in split]
    inside = np.min([(labels[fold.train, None] == present).sum(axis=0) for fold in folds], axis=0)
    _require("folds.inner", params.inner, about, present, inside, " in the training part of a fold")
    return folds


def svm_verdicts(
    x: np.ndarray,
    labels: np.ndarray,
    folds: Sequence[Fold],
    params: FoldsParams,
    *,
    kernel: Literal["rbf", "precomputed"] = "rbf",
) -> FoldVerdicts:
    """The published protocol in every fold, on features ``x`` (N, D) or the ``precomputed`` kernel (N, N) of all graphs."""
    return in_order(folds, [svm(x, labels, fold, params, kernel=kernel) for fold in folds])


def svm(
    x: np.ndarray,
    labels: np.ndarray,
    fold: Fold,
    params: FoldsParams,
    *,
    kernel: Literal["rbf", "precomputed"] = "rbf",
) -> ProbeResult:
    """A support vector machine on one fold, as GraphCL's and InfoGraph's code fits it to unscaled features.

    scikit-learn's SVC with its default width (gamma ``scale``); C by a grid search over ``params.strengths`` with
    ``params.inner`` folds of the training part, which scikit-learn does not shuffle; of equal accuracies the smaller C.
    """
    against = fold.train if kernel == "precomputed" else slice(None)
    search = GridSearchCV(SVC(kernel=kernel), {"C": sorted(params.strengths)}, cv=params.inner, scoring="accuracy")
    search.fit(x[fold.train][:, against], labels[fold.train])
    correct = search.predict(x[fold.test][:, against]) == labels[fold.test]
    return ProbeResult(correct, search.best_params_["C"], float(search.best_score_))


def in_order(folds: Sequence[Fold], results: Sequence[ProbeResult]) -> FoldVerdicts:
    """The results of the folds as one, with the verdicts in the order of the graphs."""
    tested = np.concatenate([fold.test for fold in folds])
    correct = np.concatenate([result.correct for result in results])
    return FoldVerdicts(
        correct[np.argsort(tested)],
        [float(result.correct.mean()) for result in results],
        [result.strength for result in results],
    )


def _take(examples: Labelled, rows: np.ndarray) -> Labelled:
    return Labelled(examples.features[rows], examples.labels[rows])


def _require(name: str, folds: int, about: About, present: np.ndarray, counts: np.ndarray, where: str) -> None:
    fewest = int(counts.argmin())
    if folds > counts[fewest]:
        works = f"at most {counts[fewest]}" if counts[fewest] > 1 else "too few for any folds"
        graphs = "graph" if counts[fewest] == 1 else "graphs"
        raise UserError(
            f"{name} = {folds}: class {about.classes[present[fewest]]!r} of {about.name} has {counts[fewest]} {graphs}"
            f"{where}; {works}"
        )
