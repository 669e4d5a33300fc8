"""What a head is fitted on and chosen by: which split, which images, which radius; and that no other enters."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from contrastbench.errors import UserError
from contrastbench.evaluation import classifiers
from contrastbench.evaluation.classifiers import Classifier, centre_and_scale, fold
from contrastbench.evaluation.features import extract_features
from contrastbench.jobs import classifiers as jobs
from contrastbench.modalities import modality_of
from contrastbench.params.base import overlay, validate
from contrastbench.params.robustness import RobustnessParams
from contrastbench.params.root import load
from contrastbench.pipeline.layout import Job

CPU = torch.device("cpu")
MAIN = 0.3
JOB = Job("swaro", "digits", "simclr", 5)
SPLITS = {"train": slice(0, 600), "validation": slice(600, 800)}
TUNING = {"epochs": 1, "batch_size": 64, "attack_steps": 2, "max_examples": 128}


class Data:
    """Prepared digits. Whoever asks for a split that is not there, as the test split, fails."""

    def __init__(self) -> None:
        digits = load_digits()
        self.images, self.labels = (digits.images * 15.9375).astype(np.uint8)[..., None], digits.target.astype(np.int64)
        self.folder = Path("data/digits")
        self.meta = SimpleNamespace(classes=tuple("0123456789"), modality="image")
        self.named = {split: self.labels[part].copy() for split, part in SPLITS.items()}

    def x(self, split: str) -> np.ndarray:
        return self.images[SPLITS[split]]

    def y(self, split: str) -> np.ndarray:
        return self.named[split]


@pytest.fixture
def data() -> Data:
    return Data()


@pytest.fixture(scope="module")
def params() -> RobustnessParams:
    """Those of the preset smoke, at another main radius than the first, which training attacks are given as well."""
    section = load("smoke").track("swaro").robustness
    assert section is not None
    change = {
        "budgets": {"digits": {"main": MAIN}},
        "images": {"validation": 50},
        "l2_grid": [0.01, 1.0],
        "alf": TUNING,
        "aff": TUNING,
        "lpaft": TUNING | {"probe": {"epochs": 2, "batch_size": 64}},
    }
    return validate(RobustnessParams, overlay(section.model_dump(mode="json"), change), lambda _: "params.yaml")


def fitted(head: str, data: Data, params: RobustnessParams, monkeypatch: pytest.MonkeyPatch) -> tuple[Classifier, dict]:
    """A head on an encoder with fixed weights, whose cached features are those of the splits that there are."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten()
        ).eval()
    cached = {split: features(encoder, data, split) for split in SPLITS}
    monkeypatch.setattr(jobs, "read_features", lambda *_: cached)
    return jobs.fit_classifier(None, JOB, head, data, SimpleNamespace(encoder=encoder), params, CPU)  # type: ignore[arg-type]


def features(encoder: nn.Module, data: Data, split: str) -> np.ndarray:
    return extract_features(encoder, data.x(split), modality_of(data).inputs, device=CPU)  # type: ignore[arg-type]


def attacks_seen(monkeypatch: pytest.MonkeyPatch, name: str) -> list[dict[str, Any]]:
    """The settings and the images of every call of an attack, which runs all the same."""
    attack, seen = getattr(classifiers, name), []

    def spying(model: nn.Module, images: Tensor, labels: Tensor, **settings: Any) -> Any:
        seen.append({"images": images, "labels": labels, **settings})
        return attack(model, images, labels, **settings)

    monkeypatch.setattr(classifiers, name, spying)
    return seen


def test_slf_is_fitted_on_training_images_and_chosen_by_an_attack_on_validation_images(
    data: Data, params: RobustnessParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = attacks_seen(monkeypatch, "pgd")
    classifier, chosen = fitted("slf", data, params, monkeypatch)
    assert len(seen) == 2, "one attack for each strength"
    first = np.sort(np.random.default_rng(0).permutation(200)[:50])
    images = torch.from_numpy(data.x("validation")[first]).permute(0, 3, 1, 2).float() / 255
    for attack in seen:
        assert torch.equal(attack["images"], images)
        assert np.array_equal(attack["labels"].numpy(), data.y("validation")[first])
        assert (attack["eps"], attack["step_size"], attack["steps"]) == (
            MAIN,
            MAIN * params.steps.step_fraction,
            params.steps.pgd,
        )
    assert chosen["C"] in params.l2_grid and list(chosen["by_C"]) == ["0.01", "1"]
    train = features(classifier.encoder, data, "train")
    mean, scale = centre_and_scale(train)
    alone = LogisticRegression(C=chosen["C"], max_iter=1000, random_state=JOB.seed)
    expected = fold(alone.fit((train - mean) / scale, data.y("train")), mean, scale)
    torch.testing.assert_close(classifier.head.weight, expected.weight)
    torch.testing.assert_close(classifier.head.bias, expected.bias)


def test_every_strength_meets_the_same_random_starts_and_every_seed_others(
    data: Data, params: RobustnessParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = []

    def start(model: nn.Module, images: Tensor, labels: Tensor, *, generator: torch.Generator, **_: Any) -> Any:
        starts.append(torch.rand(3, generator=generator))
        return SimpleNamespace(fooled=torch.ones(len(labels), dtype=torch.bool))

    monkeypatch.setattr(classifiers, "pgd", start)
    fitted("slf", data, params, monkeypatch)
    monkeypatch.setattr(f"{__name__}.JOB", Job("swaro", "digits", "simclr", 6))
    fitted("slf", data, params, monkeypatch)
    assert torch.equal(starts[0], starts[1]) and torch.equal(starts[2], starts[3])
    assert not torch.equal(starts[0], starts[2])


@pytest.mark.parametrize(("head", "loss", "attack"), [("alf", "trades", "pgd"), ("aff", "pgd-at", "pgd")])
def test_heads_are_tuned_at_the_main_radius(
    data: Data, params: RobustnessParams, monkeypatch: pytest.MonkeyPatch, head: str, loss: str, attack: str
) -> None:
    aff = params.aff.model_copy(update={"loss": loss})
    seen = attacks_seen(monkeypatch, attack)
    fitted(head, data, params.model_copy(update={"aff": aff}), monkeypatch)
    assert len(seen) == 2 and {each["eps"] for each in seen} == {MAIN}
    assert {each["step_size"] for each in seen} == {MAIN * params.alf.step_fraction}


def test_trades_tunes_at_the_main_radius(data: Data, params: RobustnessParams, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = attacks_seen(monkeypatch, "training_attack")
    fitted("aff", data, params, monkeypatch)
    assert len(seen) == 2 and {each["eps"] for each in seen} == {MAIN}


@pytest.mark.parametrize("head", ["slf", "alf", "own"])
def test_data_that_no_classifier_can_be_fitted_on_are_refused_in_one_line(
    data: Data, params: RobustnessParams, monkeypatch: pytest.MonkeyPatch, head: str
) -> None:
    data.named["train"][data.named["train"] == 3] = 4
    with pytest.raises(UserError, match="data/digits: no training image of the class '3'"):
        fitted(head, data, params, monkeypatch)
    data.meta.classes = ("seven",)
    with pytest.raises(UserError, match="all images are of the class 'seven'; a classifier needs two") as caught:
        fitted(head, data, params, monkeypatch)
    assert "\n" not in str(caught.value)


def test_no_label_enters_the_post_processing(
    data: Data, params: RobustnessParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With other labels the encoder is the same to the bit; the head on it, which is slf's, is not."""
    classifier, chosen = fitted("lpaft", data, params, monkeypatch)
    assert list(chosen["by_C"]) == ["0.01", "1"]
    plain, _ = fitted("slf", data, params, monkeypatch)
    data.named["train"] = np.random.default_rng(0).permutation(data.named["train"])
    permuted, _ = fitted("lpaft", data, params, monkeypatch)
    pairs = [
        (value, permuted.encoder.state_dict()[name], plain.encoder.state_dict()[name])
        for name, value in classifier.encoder.state_dict().items()
    ]
    assert all(torch.equal(one, other) and not torch.equal(one, untuned) for one, other, untuned in pairs)
    assert not torch.equal(classifier.head.weight, permuted.head.weight)


def test_the_head_on_a_post_processed_encoder_is_fitted_on_its_own_features(
    data: Data, params: RobustnessParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier, chosen = fitted("lpaft", data, params, monkeypatch)
    train = features(classifier.encoder, data, "train")
    mean, scale = centre_and_scale(train)
    alone = LogisticRegression(C=chosen["C"], max_iter=1000, random_state=JOB.seed)
    expected = fold(alone.fit((train - mean) / scale, data.y("train")), mean, scale)
    torch.testing.assert_close(classifier.head.weight, expected.weight, rtol=0.01, atol=1e-3)


def test_two_classes_are_enough(data: Data, params: RobustnessParams, monkeypatch: pytest.MonkeyPatch) -> None:
    """scikit-learn has one row of coefficients then."""
    data.meta.classes = ("even", "odd")
    data.named = {split: labels % 2 for split, labels in data.named.items()}
    classifier, chosen = fitted("slf", data, params, monkeypatch)
    assert classifier.head.out_features == 2 and chosen["validation_accuracy"] > 0.7
