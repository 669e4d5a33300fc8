"""What training costs: passes against the specification's formulae, and each job the cost of its own training."""

import json
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from foolbox import PyTorchModel
from foolbox.attacks import LinfPGD
from small_project import run, small_grid
from torch import nn
from training_cases import AUGMENT, images_and_labels, make_method, params_of

from contrastbench.attacks.geometry import ImagePasses
from contrastbench.augment.images import augment_images, to_float
from contrastbench.jobs.training_cost import step_passes, training_cost
from contrastbench.jobs.weights import load_trained, training_data
from contrastbench.methods import Batch, Step
from contrastbench.params.root import load
from contrastbench.pipeline.asked import NOT_ASKED, Asked
from contrastbench.pipeline.layout import Job
from contrastbench.pipeline.resources import needs
from contrastbench.registry import methods_of, settings_key
from contrastbench.training.loop import Examples

CPU, BATCH = torch.device("cpu"), 32
FEW = {"prototypes": 16}


def examples() -> Examples:
    images, labels = images_and_labels(3 * BATCH)
    stored = (images * 255).byte().permute(0, 2, 3, 1).numpy()
    return Examples(
        stored,
        labels.numpy(),
        lambda rows, _: to_float(torch.as_tensor(rows)),
        lambda x, g: augment_images(x, AUGMENT, g),
    )


def passes(name: str, **settings: object) -> float:
    """Passes of one step, in batches."""
    training = params_of(name).training.model_copy(update={"batch_size": BATCH})
    return step_passes(make_method(name, **settings), examples(), training, 0, CPU) / BATCH


# Specification of SwARo, section 2, in batches of B. Its SwARo makes codes of both views before the attack, which is
# 9.7; the attack needs those of the second alone.
@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("rocl", {"steps": 7, "reforward_target": True}, 7 * 2 + 2 + 3),
        ("rocl", {"steps": 7, "reforward_target": False}, 1 / 3 + 7 + 2 + 3),
        ("acl", {"steps": 5}, 5 * 2 + 4),
        ("dynacl", {"steps": 5}, 5 * 2 + 2 * (1 + 1 / 3)),  # the momentum copy sees half of both streams, no gradients
        ("swaro", {"steps": 7, "loss": "replace"} | FEW, 1 / 3 + 7 + 2),
        ("swaro", {"steps": 7, "loss": "add"} | FEW, 1 / 3 + 7 + 3),
        ("swav", FEW, 2),
        ("simclr", {}, 2),
        ("supervised", {}, 1),
        ("pgd-at", {"steps": 3}, 3 + 1),
        ("trades", {"steps": 3}, 1 / 3 + 3 + 2),
    ],
)
def test_passes_of_a_step_are_those_of_the_specification(name, settings, expected):
    assert passes(name, **settings) == pytest.approx(expected)


TRACK = load(root=REPOSITORY).swaro


@pytest.mark.parametrize("name", [name for name in methods_of("image") if getattr(TRACK.settings, settings_key(name))])
def test_every_step_of_a_method_passes_as_many_images(name):
    method, found = make_method(name, **(FEW if name in ("swav", "swaro") else {})), set()
    images, labels = images_and_labels(BATCH)
    for number in (0, 29, 59):
        step = Step(number, 60, 3, torch.Generator().manual_seed(number))
        views = [augment_images(images, AUGMENT, step.generator) for _ in range(method.number_of_views)]
        batch = Batch(images, views, torch.arange(BATCH), labels if method.uses_labels else None)
        with ExitStack() as stack:
            counts = [stack.enter_context(ImagePasses(network)) for network in method.networks()]
            method.training_step(batch, step)
        found.add(tuple((count.images, count.forward_only) for count in counts))
    assert len(found) == 1 and found != {((0, 0),)}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """PGD training of one epoch, of three at another learning rate and width, and the same on an untrained encoder."""
    variant = {
        "method": "pgd-at",
        "training": {"epochs": 3, "learning_rate": 0.02, "log_every_steps": 1},
        "encoder": {"width": 8},
    }
    swaro = {
        "methods": ["random", "pgd-at"],
        "variants": {"longer": variant},
        "cost": ["pgd-at", "longer"],
        "search": {
            "methods": ["longer", "pgd-at"],
            "trials": 2,
            "seed": 7,
            "changes": {"training.epochs": 2},
            "shared": {"settings.temperature": {"log": [0.1, 1.0]}},
        },
        "settings": {"pgd_at": {"steps": 2}},
    }
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cost")
        patch.chdir(folder)
        grid = small_grid(folder, {"tracks": ["swaro"], "swaro": swaro})
        run(grid, "prepare", Job("", "digits"))
        for label in ("random", "pgd-at", "longer"):
            run(grid, "pretrain", job_of(label))
        yield grid


def job_of(label: str) -> Job:
    return Job("swaro", "digits", label, 0)


def test_a_variant_trains_with_what_it_changes(project):
    own, varied = (
        json.loads((project.trained(job_of(label)) / "run.json").read_text()) for label in ("pgd-at", "longer")
    )
    assert varied["steps"] == 3 * own["steps"]
    rates = np.genfromtxt(project.trained(job_of("longer")) / "history.csv", delimiter=",", names=True)["learning_rate"]
    assert max(rates) == pytest.approx(0.02, rel=0.01) and len(rates) == varied["steps"]
    widths = [load_trained(project, job_of(label)).encoder.features for label in ("pgd-at", "longer")]
    assert widths[1] == 2 * widths[0]
    assert project.asked_params("attack", job_of("longer")) != project.asked_params("attack", job_of("pgd-at"))


def test_the_cost_of_a_job_is_that_of_its_own_training(project):
    data = training_data(project, job_of("pgd-at"))
    found = {label: training_cost(project, job_of(label), data, CPU) for label in ("random", "pgd-at", "longer")}
    records = {label: json.loads((project.trained(job_of(label)) / "run.json").read_text()) for label in found}
    batch = project.track("swaro").training.batch_size
    for label, cost in found.items():
        assert cost["image_passes"] == (2 + 1) * batch * records[label]["steps"] * (label != "random")
        assert cost["training_s"] == records[label]["training_s"]
    assert found["random"]["image_passes"] == 0 < found["pgd-at"]["image_passes"]


def test_the_target_asks_for_its_labels_and_the_default_one_does_not(project):
    asked = {target: {job.method for job in project.jobs("attack", "swaro", target)} for target in ("methods", "cost")}
    assert asked == {"methods": {"random", "pgd-at"}, "cost": {"pgd-at", "longer"}}
    assert project.tables("swaro", "cost")[0].name == "swaro-cost.md" and project.tables("swaro", "ablation")


def test_a_cluster_is_asked_for_what_the_variants_own_encoder_needs(project):
    own, wider = (needs(project, "attack", job_of(label), on_gpu=False) for label in ("pgd-at", "longer"))
    assert wider.mem_mb > own.mem_mb and wider.runtime >= own.runtime


def test_a_trial_is_judged_under_attack_on_validation_images(project):
    job = project.jobs("pretrain", "swaro", "search")[-1]
    for stage in ("pretrain", "features"):
        run(project, stage, job)
    (found,) = run(project, "validate", job)
    data, suite = training_data(project, job), project.track("swaro").robustness
    images, labels = to_float(torch.tensor(data.x("validation"))), torch.tensor(data.y("validation"))
    method = load_trained(project, job)
    attack = LinfPGD(steps=suite.steps.pgd, rel_stepsize=suite.steps.step_fraction)
    torch.manual_seed(0)
    model = PyTorchModel(nn.Sequential(method.encoder, method.classifier), bounds=(0, 1))
    _, _, fooled = attack(model, images, labels, epsilons=suite.budget("digits").main)
    assert found.n == len(labels) and found.protocol.eps == suite.budget("digits").main
    assert found.value == pytest.approx(1 - fooled.float().mean().item(), abs=0.02)
    assert Asked(project, data=False).why_not(found) is None
    assert Asked(project, data=False).why_not(found.model_copy(update={"seed": 0})) == NOT_ASKED
