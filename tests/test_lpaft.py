"""Post-processing without labels: clusters, the head that tuning starts from, and that tuning makes them robust."""

import copy

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from contrastbench.errors import UserError
from contrastbench.evaluation import lpaft
from contrastbench.evaluation.classifiers import CLEAN, ROBUST, robust_accuracy
from contrastbench.evaluation.features import extract_features
from contrastbench.evaluation.lpaft import clusters_of, linear_probe, post_processed
from contrastbench.params.robustness import PostProcessingParams, SgdParams

CPU = torch.device("cpu")
EPS = 0.1
PROBE = {"epochs": 20, "batch_size": 64, "learning_rate": 0.05, "weight_decay": 0.0}
PARAMS = PostProcessingParams(
    epochs=10,
    batch_size=32,
    learning_rate=0.02,
    weight_decay=1e-4,
    attack_steps=5,
    step_fraction=0.3,
    max_examples=400,
    loss="pgd-at",
    beta=6.0,
    clusters=10,
    probe=SgdParams(**PROBE),
)


def inputs(rows: np.ndarray, device: torch.device = CPU) -> Tensor:
    return torch.tensor(rows, device=device).permute(0, 3, 1, 2).float() / 255


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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


def test_clusters_are_those_that_there_are() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(4, size=200)
    features = (10 * np.eye(4)[truth] + rng.normal(size=(200, 4))).astype(np.float32)
    found = clusters_of(features, 4, seed=0)
    assert found.dtype == np.int64
    assert len(set(zip(truth, found, strict=True))) == 4, "each cluster is one of the groups"
    assert np.array_equal(found, clusters_of(features, 4, seed=0))
    with pytest.raises(UserError, match=r"^robustness.lpaft.clusters = 10: there are 9 training images$"):
        clusters_of(features[:9], 10, seed=0)


def test_the_probe_is_a_linear_classifier_of_the_features() -> None:
    """On features with a large mean and scale, where a layer trained on them as they are would diverge."""
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=600)
    features = (50 * (np.eye(5)[labels] + 0.3 * rng.normal(size=(600, 5))) + 1000).astype(np.float32)
    head = linear_probe(features, labels, 3, SgdParams(**PROBE), seeded())
    reference = LogisticRegression().fit((features - features.mean(0)) / features.std(), labels)
    with torch.no_grad():
        predicted = head(torch.from_numpy(features)).argmax(1).numpy()
    assert np.mean(predicted == labels) > reference.score((features - features.mean(0)) / features.std(), labels) - 0.01


def test_tuning_starts_from_the_probe_and_makes_the_clusters_robust(
    encoder: nn.Module, digits: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}
    tune = lpaft.tuned

    def spy(model, images, index, *rest, **named):  # type: ignore[no-untyped-def]
        seen.update(start=copy.deepcopy(model), images=images, index=index)
        seen["end"] = tune(model, images, index, *rest, **named)
        return seen["end"]

    monkeypatch.setattr(lpaft, "tuned", spy)
    x, before = digits[0][:600], copy.deepcopy(encoder.state_dict())
    tuned = post_processed(encoder, x, inputs, PARAMS, eps=EPS, seed=0, generator=seeded())
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
    assert tuned is seen["end"].encoder and not tuned.training
    assert not any(each.requires_grad for each in tuned.parameters())

    index = seen["index"]
    assert np.array_equal(index, np.sort(np.random.default_rng(0).permutation(600)[:400]))
    features = extract_features(encoder, x[index], inputs, device=CPU)
    clusters = clusters_of(features, 10, seed=0)
    assert np.array_equal(seen["images"].y[index], clusters)

    def kept(model: nn.Module) -> dict[str, float]:
        attack = {"eps": EPS, "step_size": EPS / 4, "steps": 10, "generator": seeded(), "batch_size": 400}
        return robust_accuracy(model.eval(), inputs(x[index]), torch.from_numpy(clusters), **attack)

    start, end = kept(seen["start"]), kept(seen["end"])
    assert start[CLEAN] > 0.9, "the probe knows the clusters"
    assert end[ROBUST] > start[ROBUST] + 0.1  # 0.07 to 0.17 over three encoders, 0.17 on this one
