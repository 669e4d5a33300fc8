"""Multinomial logistic regression on frozen, standardised features: the one linear protocol of every method.

The inverse L2 strength is chosen on the validation split from a fixed grid; the test split is evaluated once, with
the chosen classifier.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.nn.functional import pad

from contrastbench.evaluation.blocks import ROWS, Blocks, blocks
from contrastbench.evaluation.labelled import Labelled, is_correct, sample_examples

TOLERANCE, MAX_STEPS = 1e-4, 1000


@dataclass(frozen=True)
class ProbeResult:
    """Which test examples were classified correctly, and what was chosen on validation data."""

    correct: np.ndarray
    strength: float
    validation_accuracy: float


def linear_probe(
    train: Labelled, validation: Labelled, test: Labelled, strengths: Sequence[float], *, device: str = "cpu"
) -> ProbeResult:
    """Fit on ``train`` for every candidate, choose on ``validation``, evaluate the chosen one on ``test``."""
    model, strength, accuracy = fit_linear(train, validation, strengths, device=device)
    return ProbeResult(is_correct(model, test), strength, accuracy)


def fit_linear(
    train: Labelled, validation: Labelled, strengths: Sequence[float], *, device: str = "cpu"
) -> tuple["LogisticRegression", float, float]:
    """The chosen classifier, its inverse strength and its validation accuracy.

    Ties go to the stronger regularisation (the smaller value).
    """
    models = list(logistic_regressions(train, sorted(strengths), device))
    accuracies = [float(np.mean(is_correct(model, validation))) for model in models]
    best = int(np.argmax(accuracies))
    return models[best], sorted(strengths)[best], accuracies[best]


@dataclass(frozen=True)
class LogisticRegression:
    """The fitted classifier; its methods are scikit-learn's.

    mean, scale  (D,) of the training features; scale is 1 where a feature is constant
    weight       (classes, D + 1), the bias last; of two classes the second one's row alone, the first has logit 0
    """

    classes_: np.ndarray
    mean: Tensor
    scale: Tensor
    weight: Tensor

    def standardise(self, rows: Tensor) -> Tensor:
        """``rows`` (M, D) as the regression sees them, with a last column of ones for the bias."""
        return pad((rows - self.mean) / self.scale, (0, 1), value=1.0)

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Classes (M,) of the rows of ``features`` (M, D)."""
        return self.classes_[self.predict_proba(features).argmax(axis=1)]

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        """Probabilities (M, classes)."""
        device = str(self.weight.device)
        parts = [
            logits(self.standardise(block), self.weight).softmax(dim=0).T.cpu() for block in blocks(features, device)
        ]
        return torch.cat(parts).numpy()


def logistic_regressions(train: Labelled, strengths: Sequence[float], device: str) -> Iterator[LogisticRegression]:
    """Classifiers fitted to ``train`` with each of ``strengths``, every one from where the last one ended.

    Each minimises mean cross-entropy + ||W||^2 / (2 C N) by scipy's L-BFGS-B, with scikit-learn's tolerances. Loss and
    gradient are summed over blocks of rows on the device, so that the features need not fit into memory. Warns of one
    that has not converged after MAX_STEPS.
    """
    classes, number = np.unique(train.labels, return_inverse=True)
    mean, scale = mean_and_scale(train.features, device)
    rows = len(classes) if len(classes) > 2 else 1
    start = LogisticRegression(classes, mean, scale, torch.zeros(rows, len(mean) + 1, device=device))
    examples = Blocks(train.features, device, start.standardise)
    targets = torch.from_numpy(number).to(device).unsqueeze(0).split(ROWS, dim=1)  # (1, M) for each block
    count = len(number)

    def loss_and_gradient(flat: np.ndarray, strength: float) -> tuple[float, np.ndarray]:
        weight = torch.from_numpy(flat).to(device, torch.float32).view(rows, -1)
        loss, gradient = torch.zeros((), dtype=torch.float64, device=device), torch.zeros_like(weight)
        for block, wanted in zip(examples, targets, strict=True):
            log_posterior = logits(block, weight).log_softmax(dim=0)
            loss -= log_posterior.gather(0, wanted).sum(dtype=torch.float64)
            residual = log_posterior.exp_().scatter_(0, wanted, -1.0, reduce="add")
            gradient += residual[-rows:] @ block
        penalised = flat.reshape(rows, -1).copy()
        penalised[:, -1] = 0  # the bias is free
        total = float(loss) + np.square(penalised).sum() / (2 * strength)
        return total / count, (gradient.cpu().numpy() + penalised / strength).ravel() / count

    flat = np.zeros(start.weight.numel())
    options = {"maxiter": MAX_STEPS, "maxls": 50, "gtol": TOLERANCE, "ftol": 64 * np.finfo(float).eps}
    for strength in strengths:
        found = minimize(loss_and_gradient, flat, strength, method="L-BFGS-B", jac=True, options=options)
        if found.nit >= MAX_STEPS:  # a line search that rounding ends is near enough to the minimum
            warnings.warn(f"linear probe, C = {strength:g}: not converged after {MAX_STEPS} steps", stacklevel=2)
        flat = found.x
        weight = torch.from_numpy(flat).to(device, torch.float32).view(rows, -1)
        yield LogisticRegression(classes, mean, scale, weight)


def logits(x: Tensor, weight: Tensor) -> Tensor:
    """(classes, M) of standardised rows ``x`` (M, D + 1); see :class:`LogisticRegression` for ``weight``.

    Examples are the last axis because it is the longest, which is fastest on a CPU.
    """
    scores = weight @ x.T
    return scores if len(weight) > 1 else pad(scores, (0, 0, 1, 0))


def mean_and_scale(features: np.ndarray, device: str) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (D,) of the rows of ``features``, summed in float64; 1 for a constant feature."""
    total = torch.zeros(features.shape[1], dtype=torch.float64, device=device)
    for block in blocks(features, device):
        total += block.sum(dim=0, dtype=torch.float64)
    mean = (total / len(features)).float()  # of a constant it is that constant, so that all deviations are 0
    squares = torch.zeros_like(total)
    for block in blocks(features, device):
        squares += (block - mean).square().sum(dim=0, dtype=torch.float64)
    return mean, torch.where(squares > 0, (squares / len(features)).sqrt(), 1).float()


def low_label_probe(
    train: Labelled,
    validation: Labelled,
    test: Labelled,
    strengths: Sequence[float],
    *,
    shots: int,
    draws: int,
    seed: int,
    device: str = "cpu",
) -> list[ProbeResult]:
    """The linear probe with ``shots`` labels per class, once per draw.

    The draws depend on (seed, shots, draw) alone, so that all methods of one seed see the same labels.
    """
    results = []
    for number in range(draws):
        rng = np.random.default_rng([seed, shots, number])
        few = sample_examples(train, shots, rng, setting="probe.low_label_shots")
        results.append(linear_probe(few, validation, test, strengths, device=device))
    return results
