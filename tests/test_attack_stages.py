"""From training to rows: a contrastive and a supervised method through every stage of the robustness suite."""

import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from asked_protocols import asked_protocols
from conftest import REPOSITORY
from safetensors.torch import load_file
from small_project import LEARNS_DIGITS, judged, run, small_grid
from torch.nn.modules.batchnorm import _BatchNorm

from contrastbench.attacks import autoattack as aa
from contrastbench.errors import UserError
from contrastbench.evaluation import sanity
from contrastbench.evaluation.checks import failed_checks
from contrastbench.evaluation.suite import attacks_on
from contrastbench.evaluation.verdicts import PartialStore, Verdict, attack_order, read_verdicts
from contrastbench.jobs.classifiers import FILE, fit_classifier, load_classifier, origin_of_classifiers, ready
from contrastbench.jobs.runtime import Runtime
from contrastbench.jobs.training_cost import training_cost
from contrastbench.jobs.weights import load_trained, training_data
from contrastbench.models.foreign import Network
from contrastbench.params.base import overlay, validate
from contrastbench.params.robustness import RobustnessParams
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.results.rows import Row, unpack_correct
from contrastbench.stages import attack as stage
from contrastbench.stages.attack import attack
from contrastbench.stages.attack_model import attack_model
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
PROBE = {name: TUNING[name] for name in ("epochs", "batch_size", "learning_rate", "weight_decay")}
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
    "heads": ["slf", "alf", "aff", "lpaft"],
    "images": {
        "gradient": 40,
        "foolbox": 16,
        "minimal": 8,
        "decision": 7,
        "autoattack": 8,
        "autoattack_tuned": 4,
        "convergence": 7,
        "square": 12,
        "transfer": 60,
        "validation": 30,
    },
    "steps": {
        "pgd": 10,
        "step_fraction": 0.25,
        "apgd": 5,
        "deepfool": 10,
        "cw": 10,
        "ddn": 20,
        "hopskipjump": 1,
        "square_queries": 50,
    },
    "alf": TUNING,
    "aff": TUNING | {"epochs": 10, "max_examples": 512, "loss": "trades", "beta": 6.0},
    "lpaft": TUNING | {"clusters": 10, "probe": PROBE, "loss": "trades", "beta": 6.0},
    "l2_grid": [0.1, 1.0],
    "batch_size": 16,
}


GRID = {
    "tracks": ["swaro"],
    "swaro": LEARNS_DIGITS | {"methods": ["pixels", "simclr", "supervised"], "robustness": SUITE},
}
SIMCLR, SUPERVISED = Job("swaro", "digits", "simclr", 0), Job("swaro", "digits", "supervised", 0)
ALL_METHODS = Job("swaro", "digits", seed=0)


def cheap_autoattack(build):  # type: ignore[no-untyped-def]
    """AutoAttack with 4 iterations and 40 queries: the test is about the stages, not about strength."""

    def cheap(model, settings, *rest):  # type: ignore[no-untyped-def]
        front = build(model, settings, *rest)
        front.fab.n_iter = 4
        front.square.n_queries = 40
        return front

    return cheap


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grid]:
    """A project folder with both methods trained on digits, attacked, and attacks transferred."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("project")
        patch.chdir(folder)
        patch.setattr(aa, "build", cheap_autoattack(aa.build))
        grid = small_grid(folder, GRID)
        run(grid, "prepare", Job("", "digits"))
        for job in (SIMCLR, SUPERVISED):
            for name in ("pretrain", "features"):
                run(grid, name, job)
            ROWS[job.method] = judged(grid, "attack", job)
        transferred = judged_by_method(grid)
        for method, rows in transferred.items():
            ROWS[method] |= rows
        yield grid


ROWS: dict[str, dict[str, Row]] = {}


def judged_by_method(grid: Grid) -> dict[str, dict[str, Row]]:
    """The rows of the transfer matrix, by method and protocol."""
    found: dict[str, dict[str, Row]] = {}
    for each in transfer_attack(grid, ALL_METHODS, Runtime()):
        found.setdefault(each.method, {})[each.protocol.name] = each
    return found


def row(method: str, protocol: str, metric: str = "robust-top1") -> Row:
    found = ROWS[method][protocol]
    assert found.metric == metric
    return found


def test_the_rows_are_exactly_what_the_suite_asks_for(project: Grid) -> None:
    for job in (SIMCLR, SUPERVISED):
        asked = asked_protocols(project, "attack", job) | asked_protocols(project, "transfer_attack", job)
        assert {each.protocol for each in ROWS[job.method].values()} == asked
    assert {each.protocol.head for each in ROWS["simclr"].values()} == {"slf", "alf", "aff", "lpaft", None}
    assert {each.protocol.head for each in ROWS["supervised"].values()} == {"own", None}
    assert sum(map(len, ROWS.values())) > 50
    assert project.members("transfer_attack", ALL_METHODS) == [SIMCLR, SUPERVISED]
    for job in (SIMCLR, SUPERVISED):
        assert all(path.is_file() for path in project.outputs("attack", job))
    assert not list(Path("runs").rglob("checkpoints/**/*.npz")), "what was kept for a kill goes when the stage ends"


def test_protocols_are_named_as_they_always_were(project: Grid) -> None:
    """Where a reader looks for them."""
    assert set(ROWS["supervised"]) == {
        "clean", "noise@0.15", "fgsm@0.05", "fgsm@0.15", "square@0.15", "pgd-10-linf@0.05", "pgd-10-linf@0.15",
        "pgd-10-linf@0.9", "pgd-10-l2@0.8", "foolbox-pgd-10-linf@0.15", "foolbox-pgd-10-l1@4", "apgd-linf@0.05",
        "apgd-linf@0.15", "apgd-l2@0.8", "apgd-l1@4", "deepfool-l2", "cw-l2", "ddn-l2", "hopskipjump-l2",
        "autoattack-linf@0.15", "worst-case-linf@0.05", "worst-case-linf@0.15", "worst-case-l2@0.8", "worst-case-l1@4",
        "transfer-from-simclr@0.15", "transfer-from-supervised@0.15",
    }  # fmt: skip
    alf = {name for name in ROWS["simclr"] if name.startswith("alf-")}
    assert alf == {
        "alf-clean", "alf-pgd-10-linf@0.05", "alf-pgd-10-linf@0.15", "alf-apgd-linf@0.05", "alf-apgd-linf@0.15",
        "alf-autoattack-linf@0.15", "alf-worst-case-linf@0.05", "alf-worst-case-linf@0.15",
    }  # fmt: skip
    for head in ("aff", "lpaft"):
        assert {name.replace(f"{head}-", "alf-") for name in ROWS["simclr"] if name.startswith(f"{head}-")} == alf
    tuned = {name.replace("alf", head) for name in alf for head in ("alf", "aff", "lpaft")}
    assert set(ROWS["simclr"]) - tuned == set(ROWS["supervised"])


def verdicts_of(grid: Grid, job: Job, head: str) -> dict[str, Verdict]:
    """The verdicts on one head, by attack."""
    every = read_verdicts(grid.layout.run("attack", job) / "verdicts.npz")
    return {name.removeprefix(f"{head}/"): found for name, found in every.items() if name.startswith(f"{head}/")}


def test_rows_say_whose_order_their_images_are_the_first_of(project: Grid) -> None:
    assert {each.detail["drawn_from"] for rows in ROWS.values() for each in rows.values()} == {400}


def test_rows_agree_with_the_verdicts(project: Grid) -> None:
    verdicts = verdicts_of(project, SIMCLR, "slf")
    pgd = verdicts["pgd-10-linf@0.15"]
    found = row("simclr", "pgd-10-linf@0.15")
    assert found.n == 40 and found.value == pgd.robust.mean()
    assert np.array_equal(unpack_correct(found.correct or "", 40), pgd.robust)
    assert found.interval is not None and found.interval[0] < found.value + 1e-12 and found.value < found.interval[1]
    assert found.detail["passes"] == pgd.passes > 0 and found.protocol.eps == 0.15
    assert row("simclr", "clean", "top1").n == 400
    standard = row("simclr", "autoattack-linf@0.15")
    assert sum(standard.detail["broken_by"].values()) <= standard.n == 8
    median = row("simclr", "ddn-l2", "median-distance")
    assert median.value == pytest.approx(np.median(verdicts["ddn-l2"].distance)) and median.n == 8


@pytest.mark.parametrize(("job", "head"), [*((SIMCLR, head) for head in SUITE["heads"]), (SUPERVISED, "own")])
def test_each_head_is_kept_as_it_was_fitted_and_attacked(project: Grid, job: Job, head: str) -> None:
    data, suite = training_data(project, job), project.track("swaro").robustness
    assert suite is not None
    kept = load_classifier(project.layout.run("attack", job) / FILE, load_trained(project, job), head)
    fitted, _ = fit_classifier(project, job, head, data, load_trained(project, job), suite, torch.device("cpu"))
    images = torch.from_numpy(np.array(data.x("test"))).permute(0, 3, 1, 2).float() / 255
    logits = kept(images)
    assert torch.equal(logits, ready(fitted)(images))
    attacked = stage._victim(kept, job, data, suite, torch.device("cpu")).model
    norms = [sum(isinstance(module, _BatchNorm) for module in model.modules()) for model in (kept, attacked)]
    assert norms[0] > 0 and norms[1] == 0, "BatchNorm is folded for the attacks, and only for them"
    torch.testing.assert_close(attacked(images), logits, rtol=1e-3, atol=1e-4)
    correct = (logits.argmax(1).numpy() == data.y("test"))[attack_order(len(images), job.seed)]
    assert np.array_equal(verdicts_of(project, job, head)["clean"].robust, correct)
    assert not next(iter(kept.parameters())).requires_grad and not kept.training


def test_heads_differ(project: Grid) -> None:
    """Else one of them loaded in place of another would go unseen."""
    tensors = load_file(project.layout.run("attack", SIMCLR) / FILE)
    weights = [tensors[f"{head}/head.weight"] for head in SUITE["heads"]]
    assert not any(torch.equal(one, other) for one, other in combinations(weights, 2))
    encoder = [name.partition("/")[2] for name in tensors if name.startswith("slf/encoder.")]
    assert encoder and all(torch.equal(tensors[f"slf/{name}"], tensors[f"alf/{name}"]) for name in encoder)
    for one, other in combinations(("slf", "aff", "lpaft"), 2):
        assert any(not torch.equal(tensors[f"{one}/{name}"], tensors[f"{other}/{name}"]) for name in encoder)


def test_the_worst_case_is_no_better_than_any_attack_at_its_radius(project: Grid) -> None:
    for method, prefix in (
        ("simclr", ""),
        ("simclr", "alf-"),
        ("simclr", "aff-"),
        ("simclr", "lpaft-"),
        ("supervised", ""),
    ):
        worst = row(method, f"{prefix}worst-case-linf@0.15")
        robust = unpack_correct(worst.correct or "", worst.n)
        assert worst.n == 40, "the same images at every radius, whatever an attack saw"
        for name in ("pgd-10-linf@0.05", "pgd-10-linf@0.15", "apgd-linf@0.15", "autoattack-linf@0.15"):
            other = row(method, prefix + name)
            assert not (robust[: other.n] & ~unpack_correct(other.correct or "", other.n)).any()


def test_rows_of_clean_accuracy_say_what_the_training_cost(project: Grid) -> None:
    for job in (SIMCLR, SUPERVISED):
        cost = training_cost(project, job, training_data(project, job), torch.device("cpu"))
        told = {name: {key: each.detail.get(key) for key in cost} for name, each in ROWS[job.method].items()}
        assert cost["image_passes"] > 0 and told["clean"] == cost
        assert not any(any(found.values()) for name, found in told.items() if not name.endswith("clean"))


def test_what_was_learnt_shows(project: Grid) -> None:
    assert row("supervised", "clean", "top1").value > 0.8
    assert row("simclr", "clean", "top1").value > 0.6
    assert row("supervised", "pgd-10-linf@0.9").value == 0
    plain, tuned = (row("simclr", f"{prefix}pgd-10-linf@0.15").value for prefix in ("", "aff-"))
    assert tuned > plain + 0.2  # over 4 seeds the smallest difference is 0.475
    marked = {name for rows in ROWS.values() for name, found in rows.items() if "failed_checks" in found.detail}
    assert not {name for name in marked if "worst-case" in name or "@" not in name}, "all but PGD has converged"


def test_a_transferred_attack_is_weaker_than_the_models_own(project: Grid) -> None:
    own = row("supervised", "transfer-from-supervised@0.15").value
    other = row("supervised", "transfer-from-simclr@0.15").value
    assert own < other


def test_the_benchmark_of_attacks_reads_what_the_stage_leaves(project: Grid, capsys: pytest.CaptureFixture) -> None:
    """Here PGD of 20 steps is the check of the suite's PGD, at two radii on every head."""
    spec = spec_from_file_location("attacks", REPOSITORY / "benchmarks/attacks.py")
    assert spec is not None and spec.loader is not None
    benchmark = module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "attacks", benchmark)  # dataclasses look their module up
        spec.loader.exec_module(benchmark)
        benchmark.of_a_run(Path("runs/small/attack/swaro/digits"))
    told = dict(line.split() for line in capsys.readouterr().out.splitlines())
    taken, foolboxs = {}, {}
    for job, heads in ((SIMCLR, ("slf", "alf", "aff")), (SUPERVISED, ("own",))):
        passes = [
            verdicts_of(project, job, head)[f"pgd-20-linf@{eps}"].passes for head in heads for eps in (0.05, 0.15)
        ]
        # Without the recounts, of the images before and after; with one pass of each head over the clean images.
        taken[job.method] = sum(passes) - 2 * 40 * len(passes) + 40 * len(heads)
        foolboxs[job.method] = 21 * 40 * len(passes)
    assert told == {
        "simclr": f"{taken['simclr'] / foolboxs['simclr']:.2f}",
        "supervised": f"{taken['supervised'] / foolboxs['supervised']:.2f}",
        "all": f"{sum(taken.values()) / sum(foolboxs.values()):.2f}",
    }


def test_other_weights_are_another_origin(project: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that nothing that was fitted or attacked on other weights is taken for theirs."""
    data = training_data(project, SIMCLR)
    before = origin_of_classifiers(project, SIMCLR, data)
    assert origin_of_classifiers(project, SIMCLR, data) == before
    monkeypatch.setattr("contrastbench.jobs.classifiers.file_hash", lambda path: f"of another {path.name}")
    assert origin_of_classifiers(project, SIMCLR, data) != before


class Killed(Exception):
    pass


def test_a_killed_stage_continues_and_ends_with_the_same_verdicts(
    project: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project.layout.run("attack", SIMCLR)
    before = read_verdicts(folder / "verdicts.npz")
    assert {name.partition("/")[0] for name in before} == {"slf", "alf", "aff", "lpaft"}
    weights = load_file(folder / "classifiers.safetensors")
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
            again = attack(project, SIMCLR, Runtime())
            break
        except Killed:
            deaths += 1
    assert deaths >= 2
    resumed = read_verdicts(folder / "verdicts.npz")
    assert resumed.keys() == before.keys()
    for name, verdict in before.items():
        assert np.array_equal(resumed[name].broken, verdict.broken), name
        assert np.array_equal(resumed[name].distance, verdict.distance, equal_nan=True), name
    tensors = load_file(folder / "classifiers.safetensors")
    assert {name.partition("/")[0] for name in tensors} == {"slf", "alf", "aff", "lpaft"}
    assert tensors.keys() == weights.keys()
    assert all(np.array_equal(tensor.numpy(), tensors[name].numpy()) for name, tensor in weights.items())
    first = {name: told(each) for name, each in ROWS["simclr"].items() if each.stage == "attack"}
    assert {each.protocol.name: told(each) for each in again} == first


def told(found: Row) -> tuple:
    """What a row says but for the time it took."""
    return found.value, found.correct, found.detail | {"seconds": None}


def test_the_row_of_clean_images_says_what_the_strength_was_chosen_from(project: Grid) -> None:
    clean = row("simclr", "clean", "top1").detail
    by_strength = clean["by_C"]
    assert list(by_strength) == ["0.1", "1"]
    assert all(0 <= robust <= plain <= 1 and (30 * plain) % 1 < 1e-9 for plain, robust in by_strength.values())
    assert clean["robust_validation_accuracy"] == max(robust for _, robust in by_strength.values())
    assert by_strength[f"{clean['C']:g}"] == [clean["validation_accuracy"], clean["robust_validation_accuracy"]]
    others = [each.detail for each in ROWS["simclr"].values() if each.protocol.head == "slf" and each.metric != "top1"]
    assert others and all(detail["C"] == clean["C"] and "by_C" not in detail for detail in others)


def test_a_failed_check_marks_the_rows_that_it_concerns(project: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    gradients = sanity.input_gradients
    monkeypatch.setattr(sanity, "input_gradients", lambda *arguments: 0 * gradients(*arguments))
    invalid = stage.evaluate

    def one_image_left_the_ball(*arguments):  # type: ignore[no-untyped-def]
        verdicts = invalid(*arguments)
        verdicts["fgsm@0.05"].valid[3] = False
        return verdicts

    monkeypatch.setattr(stage, "evaluate", one_image_left_the_ball)
    found = {each.protocol.name: each.detail for each in attack(project, SUPERVISED, Runtime())}
    assert "16 of 16 are zero" in found["pgd-10-linf@0.15"]["failed_checks"][0]
    assert len(found["noise@0.15"]["failed_checks"]) == 1
    assert "fgsm@0.05: 1 of 40 images left" in found["fgsm@0.05"]["failed_checks"][1]
    assert len(found["worst-case-linf@0.15"]["failed_checks"]) == 2
    assert "failed_checks" not in found["clean"]


WHITE = [
    name.format(eps) for eps in (0.05, 0.15) for name in ("fgsm@{}", "pgd-10-linf@{}", "pgd-20-linf@{}", "apgd-linf@{}")
] + ["foolbox-pgd-10-linf@0.15", "noise@0.15"]
LONGER = ["longer-apgd-linf@0.05", "longer-apgd-linf@0.15"]
ROBUST, BROKEN, FAR = {"broken": False}, {"broken": True}, {"distance": 9.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        ({"pgd-10-linf@0.9": ROBUST}, "survive eps 0.9"),
        ({"pgd-10-linf@0.15": ROBUST, "foolbox-pgd-10-linf@0.15": BROKEN}, "Foolbox's PGD is stronger"),
        (dict.fromkeys(WHITE, ROBUST) | {"square@0.15": BROKEN}, "Square is stronger"),
        ({"noise@0.15": BROKEN, "fgsm@0.15": ROBUST}, "random noise is stronger"),
        ({"deepfool-l2": FAR, "cw-l2": FAR, "ddn-l2": FAR, "hopskipjump-l2": {"distance": 0.1}}, "HopSkipJump finds"),
    ],
)
def test_the_suite_asks_every_check(project: Grid, change: dict, message: str | None) -> None:
    """On verdicts that an honest model left, changed to those of a dishonest one."""
    found = checks_of(project, change)[""]
    if message is None:
        assert not found
    else:
        assert len(found) == 1 and message in found[0]


def checks_of(project: Grid, change: dict) -> dict[str, list[str]]:
    suite = project.track("swaro").robustness
    assert suite is not None
    verdicts = verdicts_of(project, SUPERVISED, "own")
    for name, fields in change.items():
        for field, value in fields.items():
            getattr(verdicts[name], field)[:] = value
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    images, labels = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 10
    target = SimpleNamespace(model=model, batch_size=16, images=lambda *_: (images, labels))
    return failed_checks(target, suite, "digits", attacks_on(suite, "digits", "own"), verdicts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "marked", "message"),
    [
        ({"pgd-10-linf@0.15": ROBUST}, {"pgd-10-linf@0.15"}, "100.0% survive it, "),
        (
            {"longer-apgd-linf@0.15": BROKEN},
            {"apgd-linf@0.15", "worst-case-linf@0.15"},
            "longer-apgd-linf@0.15 with square breaks 7 of 7",
        ),
        (
            {"autoattack-linf@0.15": BROKEN},
            {"apgd-linf@0.15", "worst-case-linf@0.15"},
            "autoattack-linf@0.15 breaks",
        ),
        (
            {"longer-apgd-linf@0.05": BROKEN},
            {"apgd-linf@0.05", "worst-case-linf@0.05"},
            "longer-apgd-linf@0.05 with square breaks 7 of 7",
        ),
    ],
)
def test_what_has_not_converged_is_marked_and_nothing_else(
    project: Grid, change: dict, marked: set[str], message: str
) -> None:
    honest = dict.fromkeys([*WHITE, "square@0.15", "autoattack-linf@0.15", *LONGER], ROBUST)
    if "pgd-10-linf@0.15" in change:
        honest = {}
    before, after = checks_of(project, honest), checks_of(project, honest | change)
    new = {name: [line for line in lines if line not in before[name]] for name, lines in after.items() if name}
    assert {name for name, lines in new.items() if lines} == marked
    assert all("not converged" in new[name][0] and message in new[name][0] for name in marked)


@pytest.mark.parametrize("listed", [True, False])
def test_a_variant_gets_every_attack_where_it_is_one_of_the_methods(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    few = {"gradient": 8, "convergence": 7, "validation": 8, "foolbox": 0, "minimal": 0, "decision": 0, "autoattack": 0}
    section = LEARNS_DIGITS | {
        "methods": ["random", "twin"] if listed else ["random"],
        "variants": {"twin": {"method": "random"}},
        "ablation": ["twin"],
        "robustness": {"heads": ["slf"], "images": few | {"square": 0, "transfer": 0}, "l2_grid": [1.0]},
    }
    grid = small_grid(tmp_path, {"tracks": ["swaro"], "swaro": section})
    run(grid, "prepare", Job("", "digits"))
    job = Job("swaro", "digits", "twin", 0)
    for stage_name in ("pretrain", "features"):
        run(grid, stage_name, job)
    assert ("fgsm" in {row.protocol.family for row in attack(grid, job, Runtime())}) == listed


def test_bad_requests_are_refused_in_one_line(project: Grid, tmp_path: Path) -> None:
    runtime = Runtime()
    with pytest.raises(UserError, match="reference row without an encoder"):
        attack(project, Job("swaro", "digits", "pixels", 0), runtime)
    with pytest.raises(
        UserError,
        match=r"simclr/7/run.json: no such file; run `contrastbench pretrain swaro digits simclr 7 --preset \w+`$",
    ):
        transfer_attack(project, Job("swaro", "digits", seed=7), runtime)
    with pytest.raises(UserError, match="no radii for 'cifar10'; there are mnist5k, digits"):
        attack(project, Job("swaro", "cifar10", "simclr", 0), runtime)
    with pytest.raises(UserError, match="has no section `robustness`"):
        attack(project, Job("unremix", "digits", "simclr", 0), runtime)
    nobody = small_grid(tmp_path, {"tracks": ["swaro"], "swaro": {"methods": ["pixels"], "ablation": []}})
    with pytest.raises(UserError, match="no method to attack"):
        transfer_attack(nobody, ALL_METHODS, runtime)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budgets": {"digits": {"linf": [-0.1, 0.15]}}}, r"budgets\.digits\.linf\.0 = -0\.1: .*greater than or equal"),
        ({"budgets": {"digits": {"main": 0.1}}}, r"main 0\.1 must be one of linf"),
        ({"budgets": {"digits": {"large": 0.1}}}, "must exceed every radius"),
        ({"heads": ["alf"]}, "slf is missing"),
        ({"steps": {"step_fraction": 1.5}}, r"steps\.step_fraction = 1\.5: .*less than or equal to 1"),
        (
            {"budgets": {"digits": {"l2": ["wide"]}}},
            r'budgets\.digits\.l2\.0 = "wide": input should be a valid number$',
        ),
        ({"images": {"gradients": 3}}, "did you mean 'gradient'"),
        ({"images": {"decision": 6}}, r"images\.decision = 6: .*0 or at least 7"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        validate(RobustnessParams, overlay(SUITE, change), lambda _: "params.yaml")
    assert "\n" not in str(caught.value)


def test_a_model_from_elsewhere_is_judged_as_a_job_is(project: Grid, tmp_path: Path) -> None:
    """The supervised method's classifier, saved by torch.save, gets the rows of its own job."""
    kept = load_file(project.layout.run("attack", SUPERVISED) / FILE)
    weights = {name.removeprefix("own/"): tensor for name, tensor in kept.items()}
    torch.save({"state_dict": weights}, tmp_path / "elsewhere.pt")
    network = Network("resnet-slim", width=8, stem_stride=1)
    rows = attack_model(project, "swaro", "digits", tmp_path / "elsewhere.pt", network, "digits", 0, Runtime())

    def told(found: Row) -> tuple:
        not_known = ("seconds", "image_passes", "training_s")  # what the training cost stands on clean rows
        detail = {name: value for name, value in found.detail.items() if name not in not_known}
        return found.metric, found.value, found.n, found.interval, found.correct, found.data_hash, detail

    job = {name: told(found) for name, found in ROWS["supervised"].items() if found.stage == "attack"}
    assert {found.protocol.name: told(found) for found in rows} == job
