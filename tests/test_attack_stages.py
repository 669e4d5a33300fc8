"""From training to rows: a contrastive and a supervised method through every stage of the robustness suite."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from contrastbench import registry
from contrastbench.attacks import autoattack as aa
from contrastbench.errors import UserError
from contrastbench.evaluation import sanity
from contrastbench.evaluation.robustness import failed_checks
from contrastbench.evaluation.verdicts import PartialStore, read_verdicts
from contrastbench.jobs import runs
from contrastbench.methods import Batch, Step
from contrastbench.methods.contrastive_base import ContrastiveMethod
from contrastbench.params.base import overlay, read_yaml, validate
from contrastbench.params.data import DataParams
from contrastbench.params.image_track import ImagePretrainParams, ImageTrack
from contrastbench.params.robustness import RobustnessParams
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job, Layout
from contrastbench.results.rows import Row, parse_row, unpack_correct
from contrastbench.stages import attack as stage
from contrastbench.stages.attack import attack
from contrastbench.stages.features import features
from contrastbench.stages.prepare import prepare
from contrastbench.stages.pretrain import pretrain
from contrastbench.stages.transfer_attack import transfer_attack

TUNING = {
    "epochs": 2,
    "batch_size": 64,
    "learning_rate": 0.05,
    "weight_decay": 2e-4,
    "attack_steps": 3,
    "step_fraction": 0.4,
    "max_examples": 256,
}
SUITE = {
    "budgets": {
        "digits": {
            "linf": [0.05, "3/20"],
            "main": "3/20",
            "large": 0.9,
            "l2": [0.8],
            "l1": [4.0],
            "carlini_wagner_step": 0.1,
        }
    },
    "heads": ["slf", "alf", "aff"],
    "images": {
        "gradient": 40,
        "foolbox": 16,
        "minimal": 8,
        "decision": 7,
        "autoattack": 8,
        "autoattack_tuned": 4,
        "square": 12,
        "transfer": 60,
    },
    "steps": {
        "pgd": 10,
        "pgd_long": 20,
        "deepfool": 10,
        "cw": 10,
        "ddn": 20,
        "hopskipjump": 1,
        "apgd_l1": 5,
        "square_queries": 50,
    },
    "alf": TUNING,
    "aff": TUNING | {"epochs": 10, "max_examples": 512, "loss": "trades", "beta": 6.0},
    "l2_grid": [0.1, 1.0],
    "batch_size": 16,
}


class Supervised(ContrastiveMethod):
    """Cross-entropy on one view: the smallest method with a classifier of its own."""

    number_of_views = 1
    uses_labels = True

    def __init__(self, params: ImagePretrainParams, channels: int) -> None:
        super().__init__(params, channels)
        self.classifier = nn.Linear(self.encoder.features, 10)

    def training_step(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        features = self.encoder(batch.clean)
        return {"loss": F.cross_entropy(self.classifier(features), batch.labels), "embeddings": features.detach()}


def grid_of(root: Path, suite: dict = SUITE) -> Grid:
    """A track of two methods, so that the tests do not depend on the numbers of a real one."""
    base = read_yaml(root / "params.yaml")["unremix"]
    for key in ("transfer", "variants", "settings", "robustness"):
        base.pop(key, None)
    changes = {
        "datasets": ["digits"],
        "methods": ["pixels", "simclr", "supervised"],
        "seeds": [0],
        "encoder": {"width": 8, "stem_stride": 1},
        "training": {"epochs": 6, "batch_size": 128},
        "settings": {"simclr": {"temperature": 0.5}},
        "variants": {},
        "ablation": [],
        "robustness": suite,
    }
    track = validate(ImageTrack, overlay(base, changes), lambda _: "test")
    track._name = "swaro"
    grid = Grid("default", root)
    grid.__dict__["params"] = SimpleNamespace(tracks=("swaro",), track=lambda _: track)
    return grid


def cheap_autoattack(build):  # type: ignore[no-untyped-def]
    """AutoAttack with 4 iterations and 40 queries: the test is about the stages, not about strength."""

    def cheap(model, settings, *rest):  # type: ignore[no-untyped-def]
        front = build(model, settings, *rest)
        front.apgd.n_iter = front.apgd_targeted.n_iter = front.fab.n_iter = 4
        front.square.n_queries = 40
        return front

    return cheap


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, repository: Path):  # type: ignore[no-untyped-def]
    """A project folder with both methods trained on digits, attacked, and attacks transferred."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("project"))
        method_class = runs.method_class
        patch.setattr(runs, "method_class", lambda name: Supervised if name == "supervised" else method_class(name))
        entry = replace(registry.METHODS["supervised"], path="methods.simclr:SimCLR")  # code for fingerprints
        patch.setitem(registry.METHODS, "supervised", entry)
        patch.setattr(aa, "build", cheap_autoattack(aa.build))
        grid = grid_of(repository)
        layout = Layout("default")
        prepare("digits", layout.raw("digits"), layout.prepared("digits"), DataParams(validation_fraction=0.1))
        for job in grid.attacked_jobs("swaro", "digits", 0):
            folder = layout.prepared("digits")
            pretrain(layout, job, grid.pretrain_params(job), folder, show_progress=False)
            features(grid, job)
            attack(grid, job)
        transfer_attack(grid, "swaro", "digits", 0)
        yield grid


def rows_of(grid: Grid) -> dict[tuple[str, str, str], Row]:
    found = [parse_row(path.read_text(), str(path)) for path in sorted(Path("results").rglob("*.json"))]
    return {(row.method, row.protocol, row.metric): row for row in found}


def row(grid: Grid, method: str, protocol: str, metric: str = "robust-top1") -> Row:
    return rows_of(grid)[method, protocol, metric]


def test_the_rows_are_exactly_what_the_grid_asks_for(project: Grid) -> None:
    written = set(Path("results/rows").rglob("*.json"))
    assert written == set(project.attack_targets("swaro")) and len(written) > 50
    assert [job.method for job in project.attacked_jobs("swaro", "digits", 0)] == ["simclr", "supervised"]
    for job in project.attacked_jobs("swaro", "digits", 0):
        assert all(path.is_file() for path in project.attack_files(job))
    assert not list(Path("runs").rglob("checkpoints/**/*.npz")), "what was kept for a kill goes when the stage ends"


def test_rows_agree_with_the_verdicts(project: Grid) -> None:
    job = Job("swaro", "digits", "simclr", 0)
    verdicts = read_verdicts(project.layout.run("attack", job) / "slf.npz")
    pgd = verdicts["pgd-10-linf@0.15"]
    found = row(project, "simclr", "pgd-10-linf@0.15")
    assert found.n == 40 and found.value == pgd.robust.mean()
    assert np.array_equal(unpack_correct(found.correct or "", 40), pgd.robust)
    assert found.interval is not None and found.interval[0] < found.value + 1e-12 and found.value < found.interval[1]
    assert found.detail["passes"] == pgd.passes > 0 and found.detail["eps"] == 0.15
    assert row(project, "simclr", "clean", "top1").n == 400
    standard = row(project, "simclr", "autoattack-linf@0.15")
    assert sum(standard.detail["broken_by"].values()) <= standard.n == 8
    median = row(project, "simclr", "ddn-l2", "median-distance")
    assert median.value == pytest.approx(np.median(verdicts["ddn-l2"].distance)) and median.n == 8


def test_the_worst_case_is_no_better_than_any_attack_at_its_radius(project: Grid) -> None:
    for method, prefix in (("simclr", ""), ("simclr", "alf-"), ("simclr", "aff-"), ("supervised", "")):
        worst = row(project, method, f"{prefix}worst-case@0.15")
        robust = unpack_correct(worst.correct or "", worst.n)
        for name in ("pgd-10-linf@0.15", "autoattack-linf@0.15"):
            other = row(project, method, prefix + name)
            assert not (robust & ~unpack_correct(other.correct or "", other.n)[: worst.n]).any()


def test_what_was_learnt_shows(project: Grid) -> None:
    assert row(project, "supervised", "clean", "top1").value > 0.8
    assert row(project, "simclr", "clean", "top1").value > 0.6
    assert row(project, "supervised", "pgd-10-linf@0.9").value == 0
    plain, tuned = (row(project, "simclr", f"{prefix}pgd-10-linf@0.15").value for prefix in ("", "aff-"))
    assert tuned > plain + 0.2  # over 4 seeds the smallest difference is 0.475
    assert not any("failed_checks" in found.detail for found in rows_of(project).values())


def test_a_transferred_attack_is_weaker_than_the_models_own(project: Grid) -> None:
    own = row(project, "supervised", "transfer-from-supervised@0.15").value
    other = row(project, "supervised", "transfer-from-simclr@0.15").value
    assert own < other


class Killed(Exception):
    pass


def test_a_killed_stage_continues_and_ends_with_the_same_verdicts(
    project: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job("swaro", "digits", "simclr", 0)
    folder = project.layout.run("attack", job)
    before = {head: read_verdicts(folder / f"{head}.npz") for head in ("slf", "alf", "aff")}
    weights = load_file(folder / "aff.safetensors")
    values = {key: found.value for key, found in rows_of(project).items()}
    for path in folder.iterdir():
        path.unlink()
    save, alive = PartialStore.save, [0]

    def dying(self: PartialStore, name: str, arrays: dict) -> None:
        save(self, name, arrays)
        alive[0] -= 1
        if not alive[0]:
            raise Killed

    monkeypatch.setattr(PartialStore, "save", dying)
    deaths = 0
    while True:
        alive[0] = 25
        try:
            attack(project, job)
            break
        except Killed:
            deaths += 1
    assert deaths >= 2
    for head, verdicts in before.items():
        again = read_verdicts(folder / f"{head}.npz")
        assert again.keys() == verdicts.keys()
        for name, verdict in verdicts.items():
            assert np.array_equal(again[name].broken, verdict.broken), name
            assert np.array_equal(again[name].distance, verdict.distance, equal_nan=True), name
    resumed = load_file(folder / "aff.safetensors")
    assert all(np.array_equal(tensor.numpy(), resumed[name].numpy()) for name, tensor in weights.items())
    assert {key: found.value for key, found in rows_of(project).items()} == values


def test_a_failed_check_marks_the_rows_that_it_concerns(project: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job("swaro", "digits", "supervised", 0)
    gradients = sanity.input_gradients
    monkeypatch.setattr(sanity, "input_gradients", lambda *arguments: 0 * gradients(*arguments))
    invalid = stage.evaluate

    def one_image_left_the_ball(*arguments):  # type: ignore[no-untyped-def]
        verdicts = invalid(*arguments)
        verdicts["fgsm@0.05"].valid[3] = False
        return verdicts

    monkeypatch.setattr(stage, "evaluate", one_image_left_the_ball)
    attack(project, job)
    assert "16 of 16 are zero" in row(project, "supervised", "pgd-10-linf@0.15").detail["failed_checks"][0]
    assert len(row(project, "supervised", "pgd-10-linf@0.15").detail["failed_checks"]) == 1
    assert "fgsm@0.05: 1 of 40 images left" in row(project, "supervised", "fgsm@0.05").detail["failed_checks"][1]
    assert len(row(project, "supervised", "worst-case@0.15").detail["failed_checks"]) == 2
    assert "failed_checks" not in row(project, "supervised", "clean", "top1").detail
    monkeypatch.undo()


ROBUST, BROKEN, FAR = {"broken": False}, {"broken": True}, {"distance": 9.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        ({"pgd-10-linf@0.9": ROBUST}, "survive eps 0.9"),
        ({"pgd-10-linf@0.15": BROKEN, "LONG": ROBUST}, "more steps break fewer images"),
        ({"pgd-10-linf@0.15": ROBUST, "LONG": ROBUST, "foolbox-pgd-10-linf@0.15": BROKEN}, "Foolbox's PGD is stronger"),
        (
            {"pgd-10-linf@0.15": ROBUST, "LONG": ROBUST, "foolbox-pgd-10-linf@0.15": ROBUST, "square@0.15": BROKEN},
            "Square is stronger",
        ),
        ({"noise@0.15": BROKEN, "fgsm@0.15": ROBUST}, "random noise is stronger"),
        ({"deepfool-l2": FAR, "cw-l2": FAR, "ddn-l2": FAR, "hopskipjump-l2": {"distance": 0.1}}, "HopSkipJump finds"),
    ],
)
def test_the_suite_asks_every_check(project: Grid, change: dict, message: str | None) -> None:
    """On verdicts that an honest model left, changed to those of a dishonest one."""
    suite = project.robustness("swaro")
    assert suite is not None
    verdicts = read_verdicts(project.layout.run("attack", Job("swaro", "digits", "supervised", 0)) / "own.npz")
    for name, fields in change.items():
        verdict = verdicts[f"pgd-{suite.steps.pgd_long}-linf@0.15" if name == "LONG" else name]
        for field, value in fields.items():
            getattr(verdict, field)[:] = value
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    images, labels = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 10
    target = SimpleNamespace(model=model, batch_size=16, images=lambda *_: (images, labels))
    found = failed_checks(target, suite, "digits", "own", verdicts)[""]  # type: ignore[arg-type]
    if message is None:
        assert not found
    else:
        assert len(found) == 1 and message in found[0]


def test_bad_requests_are_refused_in_one_line(project: Grid, repository: Path) -> None:
    with pytest.raises(UserError, match="reference row without an encoder"):
        attack(project, Job("swaro", "digits", "pixels", 0))
    with pytest.raises(UserError, match="no method to attack"):
        transfer_attack(project, "swaro", "digits", 7)
    with pytest.raises(UserError, match="no radii for 'mnist5k'; there are digits"):
        attack(project, Job("swaro", "mnist5k", "simclr", 0))
    plain = Grid("default", repository)
    plain.__dict__["params"] = SimpleNamespace(track=lambda _: SimpleNamespace(), tracks=("unremix",))
    with pytest.raises(UserError, match="has no section `robustness`"):
        attack(plain, Job("unremix", "digits", "simclr", 0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budgets": {"digits": {"linf": [-0.1, 0.15]}}}, r"budgets\.digits\.linf\.0 = -0\.1: .*greater than or equal"),
        ({"budgets": {"digits": {"main": 0.1}}}, r"main 0\.1 must be one of linf"),
        ({"budgets": {"digits": {"large": 0.1}}}, "must exceed every radius"),
        ({"heads": ["alf"]}, "slf is missing"),
        ({"steps": {"pgd_long": 10}}, "pgd_long 10 must exceed pgd 10"),
        ({"images": {"gradients": 3}}, "did you mean 'gradient'"),
        ({"images": {"decision": 6}}, r"images\.decision = 6: .*0 or at least 7"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        validate(RobustnessParams, overlay(SUITE, change), lambda _: "params.yaml")
    assert "\n" not in str(caught.value)
