"""Heads: the folded probe is scikit-learn's, alf and aff gain robustness, probabilities are refused."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from contrastbench.attacks.pgd import pgd
from contrastbench.errors import UserError
from contrastbench.evaluation.classifiers import (
    CLEAN,
    ROBUST,
    Classifier,
    LabelledImages,
    _trades_attack,
    centre_and_scale,
    check_logits,
    clean_accuracy,
    epochs,
    fine_tuned,
    fold,
    robust_accuracy,
    robust_linear,
    standard_linear,
)
from contrastbench.evaluation.features import extract_features
from contrastbench.evaluation.labelled import Labelled
from contrastbench.objectives.classification import kl_divergence
from contrastbench.params.robustness import FineTuningParams, RobustTuningParams

CPU = torch.device("cpu")
EPS = 0.15
COMMON = {
    "epochs": 4,
    "batch_size": 64,
    "learning_rate": 0.05,
    "weight_decay": 2e-4,
    "attack_steps": 5,
    "step_fraction": 0.3,
    "max_examples": 800,
}


def inputs(rows: np.ndarray, device: torch.device = CPU) -> Tensor:
    return torch.tensor(rows, device=device).permute(0, 3, 1, 2).float() / 255


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    data = load_digits()
    return (data.images * 15.9375).astype(np.uint8)[..., None], data.target


@pytest.fixture(scope="module")
def encoder() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
        ).eval()


def features(encoder: nn.Module, digits: tuple, part: slice) -> Labelled:
    return Labelled(extract_features(encoder, digits[0][part], inputs, device=CPU), digits[1][part])


@pytest.fixture(scope="module")
def start(encoder: nn.Module, digits: tuple) -> Classifier:
    train, validation = (features(encoder, digits, part) for part in (slice(0, 1000), slice(1000, 1200)))
    classifier, best, scores = standard_linear(
        encoder, train, (0.01, 0.1), 0, lambda each: clean_accuracy(each, validation), by=CLEAN
    )
    assert scores[best][CLEAN] > 0.9
    return classifier.eval()


@pytest.mark.parametrize(
    ("robust", "best"),
    [
        ({0.01: 0.3, 0.1: 0.5, 1.0: 0.4}, 0.1),
        ({0.01: 0.3, 0.1: 0.5, 1.0: 0.5}, 0.1),
        ({0.01: 0.0, 0.1: 0.0, 1.0: 0.0}, 0.01),
    ],
)
def test_robust_accuracy_decides_and_ties_go_to_the_smaller_strength(
    encoder: nn.Module, digits: tuple, robust: dict[float, float], best: float
) -> None:
    """Whatever order the strengths are given in, and however well the others do on clean images."""
    train = features(encoder, digits, slice(0, 300))
    for strengths in (tuple(robust), tuple(reversed(robust))):
        judged: list[Classifier] = []
        values = iter(sorted(robust))

        def judge(classifier: Classifier, judged: list = judged, values=values) -> dict[str, float]:  # type: ignore[no-untyped-def]
            judged.append(classifier)
            strength = next(values)
            return {CLEAN: strength, ROBUST: robust[strength]}

        classifier, chosen, scores = standard_linear(encoder, train, strengths, 0, judge, by=ROBUST)
        assert chosen == best and scores == {each: {CLEAN: each, ROBUST: robust[each]} for each in robust}
        assert classifier is judged[sorted(robust).index(best)]
        norms = [float(each.head.weight.detach().norm()) for each in judged]
        assert norms == sorted(norms) and norms[0] < norms[-1], "C is the inverse strength of the penalty"


def test_the_scores_are_accuracies_on_clean_and_on_attacked_images(start: Classifier, digits: tuple) -> None:
    """Batches do not matter where a step is deterministic; the attack is the suite's own."""
    images, labels = inputs(digits[0][1200:1300]), torch.tensor(digits[1][1200:1300])
    found = robust_accuracy(
        start,
        images,
        labels,
        eps=EPS,
        step_size=EPS / 4,
        steps=10,
        generator=torch.Generator().manual_seed(3),
        batch_size=100,
    )
    reference = pgd(
        start, images, labels, eps=EPS, step_size=EPS / 4, steps=10, generator=torch.Generator().manual_seed(3)
    )
    with torch.no_grad():
        correct = start(images).argmax(1) == labels
        survived = start(reference.images).argmax(1) == labels
    assert found == {CLEAN: int(correct.sum()) / 100, ROBUST: int((correct & survived).sum()) / 100}
    assert 0 < found[ROBUST] < found[CLEAN] < 1
    nothing = robust_accuracy(
        start,
        images,
        labels,
        eps=0.0,
        step_size=0.0,
        steps=2,
        generator=torch.Generator().manual_seed(3),
        batch_size=30,
    )
    assert nothing == {CLEAN: found[CLEAN], ROBUST: found[CLEAN]}


def test_training_data_of_one_class_are_refused_in_one_line(encoder: nn.Module) -> None:
    with pytest.raises(UserError, match="one class only; a classifier needs two or more"):
        standard_linear(encoder, Labelled(np.zeros((4, 2)), np.full(4, 3)), (1.0,), 0, lambda _: {}, by=ROBUST)


@pytest.mark.parametrize("classes", [2, 5])
def test_the_folded_layer_is_scikit_learns_classifier(classes: int) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(classes, size=300)
    features = (40 * rng.normal(size=(300, 7)) + 100 + labels[:, None]).astype(np.float32)
    mean, scale = centre_and_scale(features)
    assert abs(scale - 40) < 3 and np.allclose(mean, 100 + (classes - 1) / 2, atol=8)
    fitted = LogisticRegression().fit((features - mean) / scale, labels)
    logits = fold(fitted, mean, scale)(torch.from_numpy(features))
    assert logits.shape == (300, classes)
    expected = fitted.predict_proba((features - mean) / scale)
    assert np.allclose(logits.softmax(1).detach().numpy(), expected, atol=1e-4)


def test_a_feature_that_hardly_varies_gets_no_huge_weight(start: Classifier, digits: tuple) -> None:
    """The encoder's smallest features deviate by 1e-5; per-feature standardisation would turn them into weights."""
    deviations = extract_features(start.encoder, digits[0][:1000], inputs, device=CPU).std(0)
    assert deviations.max() > 1000 * deviations[deviations > 0].min()
    scale_free = start.head.weight.norm(dim=0).detach().numpy()
    assert scale_free[deviations < 0.01 * deviations.max()].max() < scale_free.max()


def accuracies(model: nn.Module, digits: tuple) -> tuple[float, float]:
    images, labels = inputs(digits[0][1200:1500]), torch.tensor(digits[1][1200:1500])
    attacked = pgd(
        model, images, labels, eps=EPS, steps=10, step_size=EPS / 10, generator=torch.Generator().manual_seed(0)
    )
    with torch.no_grad():
        clean = float((model(images).argmax(1) == labels).float().mean())
    return clean, 1 - float(attacked.fooled.float().mean())


def training(digits: tuple) -> LabelledImages:
    return LabelledImages(digits[0][:1000], digits[1][:1000], inputs, CPU)


def test_robust_linear_changes_the_head_only_and_gains_robustness(start: Classifier, digits: tuple) -> None:
    before = copy.deepcopy(start.state_dict())
    params = RobustTuningParams(**COMMON)
    model = robust_linear(start, training(digits), params, eps=EPS, generator=torch.Generator().manual_seed(0))
    again = robust_linear(start, training(digits), params, eps=EPS, generator=torch.Generator().manual_seed(0))
    assert all(torch.equal(before[name], value) for name, value in start.state_dict().items())
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
        assert torch.equal(value, before[name]) == name.startswith("encoder")
    (_, robust_before), (_, robust_after) = accuracies(start, digits), accuracies(model, digits)
    assert robust_after > robust_before + 0.03
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("loss", ["trades", "pgd-at"])
def test_fine_tuning_changes_everything_and_gains_more(start: Classifier, digits: tuple, loss: str) -> None:
    params = FineTuningParams(**COMMON, loss=loss, beta=6.0)
    model = fine_tuned(start, training(digits), params, eps=EPS, generator=torch.Generator().manual_seed(0))
    changed = [not torch.equal(value, start.state_dict()[name]) for name, value in model.state_dict().items()]
    assert all(changed)
    (_, robust_before), (clean, robust_after) = accuracies(start, digits), accuracies(model, digits)
    assert robust_after > robust_before + 0.1 and clean > 0.7
    assert not model.training and not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(("loss", "forward_passes"), [("trades", 2), ("pgd-at", 1)])
def test_only_the_loss_of_fine_tuning_moves_batchnorm(
    start: Classifier, digits: tuple, loss: str, forward_passes: int
) -> None:
    """The attack and the predictions that it starts from see BatchNorm in eval mode."""
    params = FineTuningParams(**COMMON, loss=loss, beta=6.0)
    counter = "encoder.1.num_batches_tracked"
    before = int(start.state_dict()[counter])
    model = fine_tuned(start, training(digits), params, eps=EPS, generator=torch.Generator().manual_seed(0))
    assert params.max_examples is not None
    steps = params.epochs * (params.max_examples // params.batch_size)
    assert int(model.state_dict()[counter]) == before + forward_passes * steps


def test_the_attack_of_trades_makes_predictions_diverge(start: Classifier, digits: tuple) -> None:
    images = inputs(digits[0][1200:1300])
    params = FineTuningParams(**COMMON, loss="trades", beta=6.0)
    adversarial = _trades_attack(start, images, params, EPS, torch.Generator().manual_seed(0))
    noise = torch.empty_like(images).uniform_(-EPS, EPS, generator=torch.Generator().manual_seed(1))
    noisy = (images + noise).clamp(0, 1)
    assert (adversarial - images).abs().max() <= EPS + 1e-6 and 0 <= adversarial.min() <= adversarial.max() <= 1
    with torch.no_grad():
        clean = start(images)
        attacked, by_noise = (kl_divergence(clean, start(x)).mean() for x in (adversarial, noisy))
    assert attacked > 5 * by_noise  # 37 to 52 times, over eight seeds


def test_tuning_is_sgd_on_a_cosine_schedule(digits: tuple) -> None:
    """Against torch's own optimiser and schedule, on a loss whose gradient changes from batch to batch."""
    params = RobustTuningParams(**COMMON | {"epochs": 3, "max_examples": None})
    ours, reference = (torch.zeros(64, requires_grad=True) for _ in range(2))
    generator = torch.Generator().manual_seed(0)
    batches = []
    for images, _ in epochs([ours], training(digits), np.arange(1000), params, generator):
        batches.append(images)
        (images.flatten(1) @ ours).square().mean().add(ours.sum()).backward()
    assert len(batches) == 3 * (1000 // 64)
    optimizer = torch.optim.SGD([reference], params.learning_rate, momentum=0.9, weight_decay=params.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(batches))
    for images in batches:
        optimizer.zero_grad()
        (images.flatten(1) @ reference).square().mean().add(reference.sum()).backward()
        optimizer.step()
        schedule.step()
    torch.testing.assert_close(ours, reference)


@pytest.mark.parametrize("tune", ["alf", "aff trades", "aff pgd-at"])
def test_tuning_attacks_at_the_radius_that_it_is_given(
    start: Classifier, digits: tuple, monkeypatch: pytest.MonkeyPatch, tune: str
) -> None:
    """Seen on what enters the network, in a second step: in the first the head is zero, and so is the gradient."""
    clean = inputs(digits[0][:128])
    data = LabelledImages(digits[0][:128], digits[1][:128], inputs, CPU)
    params = COMMON | {"epochs": 2, "batch_size": 128, "attack_steps": 4, "step_fraction": 0.5}
    seen: list[Tensor] = []

    def forward(self: Classifier, images: Tensor) -> Tensor:
        seen.append(images.detach())
        return self.head(self.encoder(images))

    monkeypatch.setattr(Classifier, "forward", forward)
    generator = torch.Generator().manual_seed(0)
    for eps in (0.07, 0.2):
        seen.clear()
        if tune == "alf":
            robust_linear(start, data, RobustTuningParams(**params), eps=eps, generator=generator)
        else:
            settings = FineTuningParams(**params, loss=tune.removeprefix("aff "), beta=6.0)
            fine_tuned(start, data, settings, eps=eps, generator=generator)
        furthest = max(float((images - clean).abs().max()) for images in seen)
        assert 0.98 * eps < furthest < eps + 1e-6


def test_probabilities_and_broken_outputs_are_refused(start: Classifier, digits: tuple) -> None:
    images = inputs(digits[0][:20])
    check_logits(start, images)
    check_logits(nn.Sequential(start, nn.LogSoftmax(1)), images)  # shifted logits are logits
    with pytest.raises(UserError, match="returns probabilities"):
        check_logits(nn.Sequential(start, nn.Softmax(1)), images)
    with pytest.raises(UserError, match="not finite"):
        check_logits(lambda x: F.one_hot(torch.zeros(len(x), dtype=torch.long), 10) * float("inf"), images)
