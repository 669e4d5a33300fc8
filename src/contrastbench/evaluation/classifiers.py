"""Classifiers on top of encoders, the victims of the attacks. Pixels in [0, 1] in, logits out.

slf   standard linear: logistic regression on frozen features of clean images (spec 3, LE); of several strengths of
      its l2 penalty the one whose classifier withstands PGD best on validation images
alf   robust linear (r-LE): the linear head trained on PGD examples of the whole network, encoder frozen in eval mode
aff   adversarial full fine-tuning: TRADES or PGD adversarial training of the whole network
lpaft the encoder is tuned first, without labels (evaluation/lpaft.py); the head on it is slf's

Features are centred and divided by a single number, so that the same settings suit all encoders; this is folded into
the linear layer. Dividing each feature by its own standard deviation, as the clean probe does, would be wrong here: a
feature that hardly varies on clean images would get a huge weight, and moves by thousands of deviations under attack.
Nothing but the strength of slf is chosen; all training takes the last epoch.
"""

import copy
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from contrastbench.attacks.logits import refuse_probabilities
from contrastbench.attacks.pgd import pgd
from contrastbench.attacks.training import training_attack
from contrastbench.errors import UserError
from contrastbench.evaluation.features import extract_features
from contrastbench.evaluation.labelled import Labelled
from contrastbench.modalities.base import Inputs
from contrastbench.objectives.classification import kl_divergence, trades_loss
from contrastbench.params.robustness import FineTuningParams, RobustTuningParams, SgdParams

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression


CLEAN, ROBUST = "validation_accuracy", "robust_validation_accuracy"  # scores, as rows name them


class Classifier(nn.Module):
    """An encoder (B, C, H, W) -> (B, D) and a linear head; returns logits (B, classes)."""

    def __init__(self, encoder: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return self.head(self.encoder(images))


def centre_and_scale(features: np.ndarray) -> tuple[np.ndarray, float]:
    """The mean (D,) of ``features`` (N, D), and the root mean square of their deviations from it, over all entries."""
    return features.mean(0), max(float(np.sqrt(features.var(0).mean())), 1e-12)


def fold(regression: "LogisticRegression", mean: np.ndarray, scale: float) -> nn.Linear:
    """The linear layer equal to ``regression`` on (features - mean) / scale: W (f - m) / s + b in one step.

    scikit-learn has one row of coefficients for two classes; here they become the logits 0 and w f + b.
    """
    weight = regression.coef_ / scale
    bias = regression.intercept_ - weight @ mean
    if len(weight) == 1:
        weight, bias = np.concatenate([0 * weight, weight]), np.concatenate([0 * bias, bias])
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(weight))
        linear.bias.copy_(torch.from_numpy(bias))
    return linear


def standard_linear(
    encoder: nn.Module,
    train: Labelled,
    strengths: tuple[float, ...],
    seed: int,
    judge: Callable[[Classifier], dict[str, float]],
    by: str,
) -> tuple[Classifier, float, dict[float, dict[str, float]]]:
    """slf: the classifier on ``encoder`` with the best score, its strength, and the scores of every strength.

    train      features of the training images, which every classifier is fitted on
    strengths  scikit-learn's C, the inverse strength of the l2 penalty
    judge      a classifier -> its scores by name, on validation data
    by         the score that decides; ties go to the smaller C

    Training data of a single class are a UserError.
    """
    from sklearn.linear_model import LogisticRegression  # a second of importing; a classifier that is loaded needs none

    if len(np.unique(train.labels)) < 2:
        raise UserError("the training labels name one class only; a classifier needs two or more")
    mean, scale = centre_and_scale(train.features)
    scaled = (train.features - mean) / scale
    classifiers, scores = {}, {}
    for strength in sorted(strengths):
        regression = LogisticRegression(C=strength, max_iter=1000, tol=1e-4, random_state=seed)
        classifiers[strength] = Classifier(encoder, fold(regression.fit(scaled, train.labels), mean, scale))
        scores[strength] = judge(classifiers[strength])
    best = max(scores, key=lambda strength: scores[strength][by])  # the first of equals
    return classifiers[best], best, scores


def clean_accuracy(classifier: Classifier, validation: Labelled) -> dict[str, float]:
    """A score for :func:`standard_linear`: accuracy on features."""
    with torch.no_grad():
        predicted = classifier.head(torch.from_numpy(np.asarray(validation.features))).argmax(1).numpy()
    return {CLEAN: float(np.mean(predicted == validation.labels))}


def robust_accuracy(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    eps: float,
    step_size: float,
    steps: int,
    generator: Generator,
    batch_size: int,
) -> dict[str, float]:
    """Scores for :func:`standard_linear`: accuracy on ``images`` (N, C, H, W), as they are and under PGD.

    The attack is l_inf, from one random start.
    """
    with torch.no_grad():
        correct = torch.cat([model(part).argmax(1) for part in images.split(batch_size)]) == labels
    attacked = pgd(
        model,
        images,
        labels,
        eps=eps,
        step_size=step_size,
        steps=steps,
        misclassified=~correct,
        generator=generator,
        batch_size=batch_size,
    )
    counts = {CLEAN: int(correct.sum()), ROBUST: int((~attacked.fooled).sum())}
    return {name: count / len(labels) for name, count in counts.items()}


class LabelledImages:
    """Labelled images as batches of tensors on a device.

    x          stored array (N, ...), possibly memory-mapped
    inputs     the modality's: stored rows -> (B, C, H, W) in [0, 1]
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, inputs: Inputs, device: torch.device) -> None:
        self.x, self.y, self.inputs, self.device = x, y, inputs, device

    def batch(self, index: np.ndarray) -> tuple[Tensor, Tensor]:
        """Images and labels at the positions ``index``."""
        return self.inputs(self.x[index], self.device), torch.from_numpy(np.array(self.y[index])).to(self.device)

    def rows(self, index: np.ndarray) -> np.ndarray:
        """The stored images at the sorted positions ``index``; without a copy where these are all."""
        return self.x if len(index) == len(self.x) else self.x[index]

    def first(self, count: int) -> np.ndarray:
        """The first ``count`` positions of a fixed random order, sorted (all, where there are fewer)."""
        return np.sort(np.random.default_rng(0).permutation(len(self.y))[:count])


def robust_linear(
    start: Classifier, training: LabelledImages, params: RobustTuningParams, *, eps: float, generator: Generator
) -> Classifier:
    """alf: a copy of ``start`` with a new head, trained on PGD examples only; the encoder does not change.

    The head starts at zero and sees features scaled as for slf.
    """
    model = copy.deepcopy(start).eval().requires_grad_(False)
    index = training.first(params.max_examples or len(training.y))
    features = extract_features(model.encoder, training.rows(index), training.inputs, device=training.device)
    centre, scale = centre_and_scale(features)
    mean = torch.from_numpy(centre).to(training.device)
    weight = torch.zeros_like(model.head.weight).requires_grad_()
    bias = torch.zeros_like(model.head.bias).requires_grad_()

    def update_head() -> None:
        with torch.no_grad():
            model.head.weight.copy_(weight / scale)
            model.head.bias.copy_(bias - (weight / scale) @ mean)

    for images, labels in epochs([weight, bias], training, index, params, generator):
        update_head()
        adversarial = _pgd_attack(model, images, labels, params, eps, generator)
        with torch.no_grad():
            scaled = (model.encoder(adversarial) - mean) / scale
        F.cross_entropy(F.linear(scaled, weight, bias), labels).backward()
    update_head()
    return model


def fine_tuned(
    start: Classifier, training: LabelledImages, params: FineTuningParams, *, eps: float, generator: Generator
) -> Classifier:
    """aff: a copy of ``start`` with all weights trained by TRADES or PGD adversarial training; the head starts at zero.

    TRADES (Zhang et al. 2019, arXiv 1901.08573, equation 5): CE(f(x), y) + beta KL(f(x) || f(x')), where x'
    maximises the KL term; PGD-AT: CE(f(x'), y). The attack sees BatchNorm in eval mode.
    """
    model = copy.deepcopy(start)
    nn.init.zeros_(model.head.weight)  # as ACL's fine-tuning does (specification 3, AFF)
    nn.init.zeros_(model.head.bias)
    index = training.first(params.max_examples or len(training.y))
    return tuned(model, training, index, params, eps=eps, generator=generator)


def tuned(
    model: Classifier,
    training: LabelledImages,
    index: np.ndarray,
    params: FineTuningParams,
    *,
    eps: float,
    generator: Generator,
) -> Classifier:
    """``model`` itself, all its weights trained as for aff on the images at the positions ``index``."""
    model.requires_grad_(True)
    for images, labels in epochs(list(model.parameters()), training, index, params, generator):
        model.eval()
        if params.loss == "trades":
            adversarial = _trades_attack(model, images, params, eps, generator)
            model.train()
            loss = trades_loss(model(images), model(adversarial), labels, beta=params.beta)
        else:
            adversarial = _pgd_attack(model, images, labels, params, eps, generator)
            model.train()
            loss = F.cross_entropy(model(adversarial), labels)
        loss.backward()
    return model.eval().requires_grad_(False)


def epochs(
    parameters: list[Tensor],
    training: LabelledImages,
    index: np.ndarray,
    params: SgdParams,
    generator: Generator,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches; after each, take an SGD step with the gradients left by the caller, on a cosine schedule."""
    optimizer = torch.optim.SGD(parameters, params.learning_rate, momentum=0.9, weight_decay=params.weight_decay)
    size = min(params.batch_size, len(index))
    per_epoch = len(index) // size
    total = per_epoch * params.epochs
    for number in range(total):
        if number % per_epoch == 0:
            order = torch.randperm(len(index), generator=generator, device=generator.device).cpu().numpy()
        part = number % per_epoch
        optimizer.zero_grad(set_to_none=True)
        yield training.batch(np.sort(index[order[part * size : (part + 1) * size]]))
        optimizer.param_groups[0]["lr"] = params.learning_rate * (1 + math.cos(math.pi * number / total)) / 2
        optimizer.step()


def _pgd_attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    params: RobustTuningParams,
    eps: float,
    generator: Generator,
) -> Tensor:
    return pgd(
        model,
        images,
        labels,
        eps=eps,
        step_size=params.step_fraction * eps,
        steps=params.attack_steps,
        active_set=False,
        generator=generator,
        batch_size=len(images),
    ).images


def _trades_attack(
    model: nn.Module, images: Tensor, params: RobustTuningParams, eps: float, generator: Generator
) -> Tensor:
    with torch.no_grad():
        clean = model(images)
    return training_attack(
        model,
        images,
        lambda x: kl_divergence(clean, model(x)),
        eps=eps,
        step_size=params.step_fraction * eps,
        steps=params.attack_steps,
        generator=generator,
        start="gaussian",
    )


@torch.no_grad()
def check_logits(model: nn.Module, images: Tensor) -> None:
    """Refuse a model whose outputs on ``images`` (B, C, H, W) are probabilities, or not finite."""
    output = model(images)
    if not torch.isfinite(output).all():
        raise UserError("the classifier returns values that are not finite; its training has diverged")
    refuse_probabilities(output)
