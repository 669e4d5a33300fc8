"""The stage ``shifted_attack``: an encoder of digits, attacked on the same digits at another size."""

from pathlib import Path

import numpy as np
import pytest
import torch
from audio_sets import about
from small_project import LEARNS_DIGITS, judged, run, small_grid
from torch.nn.functional import interpolate

from contrastbench.datasets.base import Split
from contrastbench.datasets.store import Prepared, open_prepared, write_prepared
from contrastbench.errors import UserError
from contrastbench.evaluation.classifiers import Classifier, LabelledImages
from contrastbench.evaluation.labelled import Labelled
from contrastbench.evaluation.robustness import Victim
from contrastbench.evaluation.robustness import evaluate as whole_suite
from contrastbench.evaluation.verdicts import attack_order
from contrastbench.jobs import classifiers
from contrastbench.jobs.weights import load_trained
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.results.rows import unpack_correct
from contrastbench.stages import attack as stage
from contrastbench.stages import shifted_attack

JOB = Job("swaro", "digits-to-mnist5k", "random", 0)
SIZE = 12
GRID = {
    "tracks": ["swaro"],
    "swaro": LEARNS_DIGITS
    | {
        "methods": ["random"],
        "transfer": [{"train": "digits", "probe": "mnist5k"}],
        "robustness": {
            "heads": ["slf", "alf", "aff"],
            "images": {"gradient": 30, "convergence": 7, "validation": 30},
            "l2_grid": [1.0],
        },
    },
}


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Grid:
    """A project with digits, the same enlarged as the other data set, and an untrained encoder."""
    monkeypatch.chdir(tmp_path)
    grid = small_grid(tmp_path, GRID)
    run(grid, "prepare", Job("", "digits"))
    digits = open_prepared(grid.data_folder("swaro", "digits"))
    larger = {}
    for split in ("train", "validation", "test"):
        x = torch.from_numpy(np.array(digits.x(split)[:400])).permute(0, 3, 1, 2).float()
        x = interpolate(x, (SIZE, SIZE), mode="bilinear").permute(0, 2, 3, 1).byte().numpy()
        larger[split] = Split(x, np.array(digits.y(split)[:400]))
    write_prepared(grid.layout.prepared("mnist5k"), about("mnist5k", "image", tuple("0123456789")), larger, "as made")
    run(grid, "pretrain", JOB.trained)
    return grid


def test_the_other_data_sets_classifier_is_attacked_at_its_own_size(
    grid: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    victims: list[Victim] = []

    def evaluate(victim: Victim, *rest: object) -> dict:
        victims.append(victim)
        return whole_suite(victim, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(stage, "evaluate", evaluate)
    rows = judged(grid, "shifted_attack", JOB)
    victim, robust_linear, fine_tuned = victims
    images, labels = victim.images(0, 300)
    assert images.shape == (300, 1, SIZE, SIZE)
    data = open_prepared(grid.data_folder("swaro", "mnist5k"))
    encoder = load_trained(grid, JOB).encoder
    with torch.no_grad():
        logits = victim.model(images)
        features = encoder(interpolate(images, (8, 8), mode="bilinear", antialias=True)).double()
    features = torch.cat([features, torch.ones(300, 1)], dim=1)
    assert features.shape[1] < 100

    def is_linear(model: torch.nn.Module) -> bool:
        """Whether its logits are linear in the frozen encoder's features of scaled images."""
        with torch.no_grad():
            logits = model(images).double()
        fitted = features @ torch.linalg.lstsq(features, logits).solution
        return torch.allclose(fitted, logits, atol=1e-2 * float(logits.std()))

    assert is_linear(victim.model) and is_linear(robust_linear.model) and not is_linear(fine_tuned.model)
    assert {"alf-clean", "alf-worst-case-linf@0.1", "aff-clean", "aff-worst-case-linf@0.1"} <= set(rows)
    assert float((logits.argmax(1) == labels).float().mean()) > 0.5
    clean, worst = rows["clean"], rows["worst-case-linf@0.1"]
    assert clean.correct is not None and clean.n == len(data.x("test")) and worst.n == 30
    chosen = attack_order(clean.n, JOB.seed)[:300]
    assert (labels.numpy() == np.asarray(data.y("test"))[chosen]).all()
    assert (unpack_correct(clean.correct, clean.n)[:300] == (logits.argmax(1) == labels).numpy()).all()
    assert worst.value < rows["clean"].value and worst.value <= rows["pgd-5-linf@0.1"].value
    assert (clean.dataset, clean.data_hash) == ("digits-to-mnist5k", data.meta.hash)
    assert not list(Path("runs").rglob("shifted-attack*")), "nothing is left of the unfinished run"


def test_heads_are_fitted_to_the_training_split_alone(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    data, seen = open_prepared(grid.data_folder("swaro", "mnist5k")), []
    fit, tune, train_head = shifted_attack.fit_head, classifiers.fine_tuned, classifiers.robust_linear

    def fit_head(
        job: Job, head: str, data: Prepared, encoder: torch.nn.Module, train: Labelled, *rest: object
    ) -> tuple:
        seen.append((head, train.labels))
        return fit(job, head, data, encoder, train, *rest)  # type: ignore[arg-type]

    def tuned(start: Classifier, training: LabelledImages, *rest: object, **settings: object) -> Classifier:
        seen.append(("aff", training.y))
        return tune(start, training, *rest, **settings)  # type: ignore[arg-type]

    def trained(start: Classifier, training: LabelledImages, *rest: object, **settings: object) -> Classifier:
        seen.append(("alf", training.y))
        return train_head(start, training, *rest, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(shifted_attack, "fit_head", fit_head)
    monkeypatch.setattr(classifiers, "fine_tuned", tuned)
    monkeypatch.setattr(classifiers, "robust_linear", trained)
    run(grid, "shifted_attack", JOB)
    assert [head for head, _ in seen] == ["slf", "alf", "alf", "aff", "aff"]
    assert all(np.array_equal(labels, data.y("train")) for _, labels in seen)
    assert not np.array_equal(data.y("train"), data.y("test"))


def test_a_judged_data_set_without_radii_is_one_line(tmp_path: Path) -> None:
    pair = [{"train": "digits", "probe": "cifar10"}]
    with pytest.raises(UserError, match=r'transfer.0.probe = "cifar10": no radii for it in robustness.budgets'):
        assert small_grid(tmp_path, {"swaro": {"transfer": pair}}).params


def test_a_pair_that_is_not_listed_is_one_line(tmp_path: Path) -> None:
    grid = small_grid(tmp_path, {"swaro": {"transfer": [{"train": "digits", "probe": "mnist5k"}]}})
    with pytest.raises(UserError, match=r"not among the pairs of swaro.transfer; known: digits-to-mnist5k"):
        grid.job("shifted_attack", "swaro", "digits-to-cifar10", "swaro", 0)
    with pytest.raises(UserError, match=r"not among the pairs of swaro.transfer"):
        grid.job("shifted_attack", "swaro", "digits", "swaro", 0)
