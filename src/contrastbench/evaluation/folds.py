"""Stratified cross-validation of graphs (specification of graphs, section 6).

Each graph is tested once per seed. Whatever is chosen for a fold is chosen inside its training part, so that neither
features nor labels of its test part decide anything.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import SVC

from contrastbench.datasets.store import About
from contrastbench.errors import UserError
from contrastbench.evaluation.labelled import Labelled
from contrastbench.evaluation.linear_probe import ProbeResult
from contrastbench.params.graphs import FoldsParams

Kernel = Literal["rbf", "precomputed"]


@dataclass(frozen=True)
class Fold:
    """Sorted positions of the graphs of its training part and of its test part; ``seed`` draws the folds inside."""

    train: np.ndarray
    test: np.ndarray
    seed: int

    def inside(self, labels: np.ndarray, inner: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Positions (train, validation) of each of the ``inner`` stratified folds of the training part.

        They are shuffled: the files of a collection may list its graphs in an order that means something.
        """
        within = StratifiedKFold(inner, shuffle=True, random_state=self.seed)
        return ((self.train[a], self.train[b]) for a, b in within.split(self.train, labels[self.train]))

    def parts(self, examples: Labelled, inner: int) -> tuple[Labelled, Labelled, Labelled]:
        """Training, validation and test examples: the first of the folds inside validates."""
        train, validation = next(self.inside(examples.labels, inner))
        return _take(examples, train), _take(examples, validation), _take(examples, self.test)

    def whole(self, examples: Labelled) -> tuple[Labelled, Labelled]:
        """The whole training part and the test part, for what has nothing to choose."""
        return _take(examples, self.train), _take(examples, self.test)


@dataclass(frozen=True)
class FoldVerdicts:
    """What one protocol found in several folds.

    correct     (n,) bool: whether each tested graph was classified correctly, in the order of the graphs
    accuracies  of each fold
    strengths   C as it was chosen in each fold
    """

    correct: np.ndarray
    accuracies: list[float]
    strengths: list[float]

    @classmethod
    def of(cls, folds: Sequence[Fold], results: Sequence[ProbeResult]) -> "FoldVerdicts":
        """The results of the folds as one."""
        correct = [result.correct for result in results]
        means = [float(each.mean()) for each in correct]
        return cls(in_order(folds, correct), means, [result.strength for result in results])

    @property
    def detail(self) -> dict[str, Any]:
        """For a row, whose value is the share of graphs; the published one is the mean over folds, ``fold_mean``."""
        return {
            "folds": len(self.accuracies),
            "fold_mean": float(np.mean(self.accuracies)),
            "fold_accuracies": self.accuracies,
            "fold_C": self.strengths,
        }


def in_order(folds: Sequence[Fold], correct: Sequence[np.ndarray]) -> np.ndarray:
    """The verdicts (n,) on all tested graphs, in the order of the graphs, of those on each fold's."""
    tested = np.concatenate([fold.test for fold in folds])
    return np.concatenate(correct)[np.argsort(tested)]


def stratified_folds(labels: np.ndarray, params: FoldsParams, seed: int, about: About) -> list[Fold]:
    """The ``params.outer`` folds of a seed, with the same share of every class of ``labels`` (N,).

    A UserError names the class that has too few graphs for so many outer folds, or for the inner ones of a fold.
    """
    present, counts = np.unique(labels, return_counts=True)
    if len(present) < 2:
        raise UserError(f"{about.name}: all graphs are of class {about.classes[present[0]]!r}: nothing to tell apart")
    _require("folds.outer", params.outer, about, present, counts, "")
    split = StratifiedKFold(params.outer, shuffle=True, random_state=seed).split(labels, labels)
    folds = [Fold(train, test, seed) for train, test in split]
    inside = np.min([(labels[fold.train, None] == present).sum(axis=0) for fold in folds], axis=0)
    _require("folds.inner", params.inner, about, present, inside, " in the training part of a fold")
    return folds


def svm_verdicts(
    x: np.ndarray, labels: np.ndarray, folds: Sequence[Fold], params: FoldsParams, *, kernel: Kernel = "rbf"
) -> FoldVerdicts:
    """The published protocol in every fold; ``x`` are features (N, D), or a ``precomputed`` kernel (N, N)."""
    return FoldVerdicts.of(folds, [svm(x, labels, fold, params, kernel=kernel) for fold in folds])


def svm(x: np.ndarray, labels: np.ndarray, fold: Fold, params: FoldsParams, *, kernel: Kernel = "rbf") -> ProbeResult:
    """A support vector machine on one fold, as GraphCL's and InfoGraph's code fits it to unscaled features.

    scikit-learn's SVC with its default width (gamma ``scale``); C by accuracy in the ``params.inner`` folds inside its
    training part; of equal ones the smallest. The verdicts are those of scikit-learn's GridSearchCV, in less time,
    because distances are computed once for all parts, and a kernel once for all C.
    """
    squared = _squared_distances(x) if kernel == "rbf" else None

    def correct(train: np.ndarray, test: np.ndarray, strengths: Sequence[float]) -> list[np.ndarray]:
        """Whether each graph of ``test`` is classified correctly, (n,), for each strength."""
        every = np.concatenate([train, test])
        gram = x[np.ix_(every, train)] if squared is None else _rbf(squared[np.ix_(every, train)], x[train])
        models = (SVC(C=each, kernel="precomputed").fit(gram[: len(train)], labels[train]) for each in strengths)
        return [model.predict(gram[len(train) :]) == labels[test] for model in models]

    strengths = sorted(params.strengths)
    found = [correct(train, validation, strengths) for train, validation in fold.inside(labels, params.inner)]
    accuracies = np.mean([[each.mean() for each in part] for part in found], axis=0)
    best = int(np.argmax(accuracies))
    (tested,) = correct(fold.train, fold.test, [strengths[best]])
    return ProbeResult(tested, strengths[best], float(accuracies[best]))


def _squared_distances(x: np.ndarray) -> np.ndarray:
    """Between all rows of ``x`` (N, D): (N, N) float64."""
    rows = x.astype(np.float64)
    norms = np.square(rows).sum(axis=1)
    return np.maximum(norms[:, None] + norms - 2 * rows @ rows.T, 0)


def _rbf(squared: np.ndarray, train: np.ndarray) -> np.ndarray:
    """The kernel of ``squared`` distances, with the width that scikit-learn takes for ``train`` (n, D)."""
    width = train.shape[1] * train.astype(np.float64).var()
    return np.exp(squared / -(width or 1.0))


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
