"""Rows name what made them, and stages refuse what was made otherwise: each by changes to a finished project."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from asked_protocols import asked_protocols
from finished_project import ATTACKS, CHANGES, command, command_of
from safetensors.torch import load_file, save_file
from small_project import run, small_grid

from contrastbench.datasets.store import open_prepared
from contrastbench.errors import UserError
from contrastbench.params.base import Section, overlay, params_hash
from contrastbench.pipeline import grid as grid_module
from contrastbench.pipeline.asked import rows_that_count
from contrastbench.pipeline.grid import Grid, joined
from contrastbench.pipeline.layout import Job
from contrastbench.pipeline.measured import measured_here
from contrastbench.pipeline.records import asked_record
from contrastbench.pipeline.stages import STAGES, TRAINING, WITH_ROWS, Scope
from contrastbench.results.load import rows_in
from contrastbench.results.rows import Row

SIMCLR, SWARO = Job("unremix", "digits", "simclr", 0), Job("swaro", "digits", "swaro", 0)
MAE, TUNED = Job("uamix", "instruments", "mae", 0), Job("uamix", "instruments", "uamix-mae", 0)
INFOGRAPH = Job("graphs", "mutag", "infograph", 0)
# A job of every stage that reads weights.
ON = {
    "features": SIMCLR,
    "probe": SIMCLR,
    "transfer_probe": replace(SIMCLR, dataset="digits-to-mnist5k"),
    "cross_validate": INFOGRAPH,
    "inductive": INFOGRAPH,
    "few_shot": MAE,
    "low_shot": TUNED,
    "corruptions": SIMCLR,
    "diagnostics": replace(SIMCLR, method="unremix-exp"),
    "audio_attack": TUNED,
    "attack": SWARO,
    "own_attack": SWARO,
    "head_corruptions": SWARO,
    "validate": Job("swaro", "digits", "swaro-trial-01", 10),
    "validate_knn": Job("unremix", "digits", "unremix-trial-01", 10),
    "validate_few_shot": Job("uamix", "instruments", "uamix-mae-trial-01", 10),
    "shifted_attack": replace(SWARO, dataset="digits-to-mnist5k"),
    "transfer_attack": Job("swaro", "digits", seed=0),
}
ON_OTHER_DATA = {
    name: replace(ON[name], dataset="instruments-to-esc50")
    for name in ("few_shot", "low_shot", "audio_attack", "validate_few_shot")
}
READERS = [*ON.items(), *ON_OTHER_DATA.items()]
VALIDATING = ("validate", "validate_knn", "validate_few_shot")
WITH_FEATURES = (
    "probe",
    "cross_validate",
    "few_shot",
    "low_shot",
    "corruptions",
    "audio_attack",
    "attack",
    *VALIDATING,
)


def named(value: object) -> str:
    return value.name if isinstance(value, Job) else str(value)


@pytest.fixture
def grid(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Grid:
    """A copy of the finished project, as the working directory."""
    folder = tmp_path / "project"
    shutil.copytree(finished, folder)
    monkeypatch.chdir(folder)
    return Grid("small", folder)


def trained_by(job: Job) -> Job:
    """The job whose weights a stage reads, where it takes those of several methods."""
    return SWARO if job.method == "all" else job.trained


def edit_record(grid: Grid, job: Job, changes: dict) -> None:
    path = grid.trained(job) / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(grid: Grid, job: Job) -> None:
    path = grid.trained(job) / "model.safetensors"
    tensors = load_file(path)
    save_file({name: 1.001 * each if each.is_floating_point() else each for name, each in tensors.items()}, path)


def refused(grid: Grid, stage: str, job: Job) -> tuple[str, str]:
    """The one line with which a stage refuses a job, and the command that it names."""
    with pytest.raises(UserError) as caught:
        run(grid, stage, job)
    told = str(caught.value)
    (remedy,) = re.findall(r"`contrastbench (.*?)`", told)
    assert "\n" not in told
    return told, remedy


def test_every_stage_that_judges_is_tried() -> None:
    assert set(ON) == {"features", *(stage.name for stage in WITH_ROWS)}
    assert set(WITH_FEATURES) == {stage.name for stage in WITH_ROWS if "features" in stage.reads}


# ---- what is refused


@pytest.mark.parametrize("what", ["params_hash", "code_hash", "data_hash"])
@pytest.mark.parametrize(("stage", "job"), READERS, ids=named)
def test_weights_that_name_something_else_than_asked_for_are_refused(
    grid: Grid, stage: str, job: Job, what: str
) -> None:
    edit_record(grid, trained_by(job), {what: "123456789abc"})
    told, remedy = refused(grid, stage, job)
    kind = {"params_hash": "parameters", "code_hash": "code", "data_hash": "data"}[what]
    assert f"{grid.trained(trained_by(job))}: trained with other {kind} than those asked for" in told
    assert remedy == command_of(grid.training_stage(trained_by(job)), trained_by(job))
    command(remedy)
    run(grid, stage, job)


def test_a_start_that_names_something_else_is_not_tuned_from(grid: Grid) -> None:
    edit_record(grid, MAE, {"code_hash": "123456789abc"})
    told, remedy = refused(grid, "tune", TUNED)
    assert "trained with other code" in told and remedy == command_of("pretrain", MAE)
    command(remedy)
    run(grid, "tune", TUNED)


def test_a_still_image_refuses_weights_of_other_parameters(grid: Grid) -> None:
    for name, job in (("reconstructions", MAE), ("adversarial-examples", SWARO)):
        edit_record(grid, job, {"params_hash": "123456789abc"})
        told, remedy = refused(grid, "figures", replace(job, method=name))
        assert "trained with other parameters" in told
        command(remedy)
        run(grid, "figures", replace(job, method=name))


@pytest.mark.parametrize("stage", WITH_FEATURES)
def test_features_of_other_weights_are_refused(grid: Grid, stage: str) -> None:
    job = ON[stage]
    path = grid.trained(job) / "model.safetensors"
    save_file(
        {name: tensor + 1e-3 if tensor.is_floating_point() else tensor for name, tensor in load_file(path).items()},
        path,
    )
    told, remedy = refused(grid, stage, job)
    assert told.startswith(
        f"{grid.layout.run('features', job)}/features.safetensors: made from other data, weights or code"
    )
    assert remedy == command_of("features", job)
    command(remedy)
    run(grid, stage, job)


@pytest.mark.parametrize("stage", WITH_FEATURES)
def test_features_of_other_code_are_refused(grid: Grid, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else rows would name the code of today and be made by that of yesterday."""
    with_other_code(monkeypatch, "features")
    told, remedy = refused(Grid("small"), stage, ON[stage])
    assert "made from other data, weights or code" in told and remedy == command_of("features", ON[stage])


@pytest.mark.parametrize("stage", ["probe", "cross_validate", "few_shot", "low_shot"])
def test_features_of_other_data_are_refused_where_there_are_no_weights(grid: Grid, stage: str) -> None:
    of_graphs = stage == "cross_validate"
    job = replace(ON[stage], method="histogram" if of_graphs else "pixels")
    path = grid.data_folder(job.track, job.dataset) / "meta.json"
    held = open_prepared(path.parent).meta.splits["train" if of_graphs else "test"].arrays["x"].sha256
    path.write_text(path.read_text().replace(held, "0" * len(held)))  # as if the array had been made again
    told, remedy = refused(grid, stage, job)
    assert "made from other data, weights or code" in told and remedy == command_of("features", job)
    run(grid, "features", job)
    run(grid, stage, job)


def test_classifiers_of_other_weights_are_refused(grid: Grid) -> None:
    job = ON["transfer_attack"]
    edit_weights(grid, SWARO)
    picture = replace(SWARO, method="adversarial-examples")
    for stage, reader in (
        ("transfer_attack", job),
        ("own_attack", SWARO),
        ("head_corruptions", SWARO),
        ("figures", picture),
    ):
        told, remedy = refused(grid, stage, reader)
        assert "classifiers.safetensors: fitted with other weights, data, parameters or code" in told
        assert remedy == command_of("attack", SWARO)
    command(command_of("features", SWARO))
    command(remedy)
    run(grid, "transfer_attack", job)


def test_classifiers_of_other_parameters_are_refused(grid: Grid) -> None:
    changed = small_grid(grid.root, overlay(CHANGES, {"swaro": {"robustness": {"l2_grid": [1.0]}}}))
    for stage in ("transfer_attack", "own_attack", "head_corruptions"):
        told, _ = refused(changed, stage, ON[stage])
        assert "classifiers.safetensors: fitted with other" in told


def test_an_edit_of_the_parameters_refuses_all_that_was_made_before(grid: Grid) -> None:
    """What Snakemake would run again, no command judges by hand."""
    changed = small_grid(
        grid.root, overlay(CHANGES, {track: {"encoder": {"width": 8}} for track in grid.params.tracks})
    )
    for stage, job in READERS:
        told, _ = refused(changed, stage, job)
        assert "trained with other parameters than those asked for" in told
    command(command_of("pretrain", SIMCLR))
    command(command_of("features", SIMCLR))
    run(changed, "probe", SIMCLR)


def test_a_run_is_judged_by_the_parameters_that_it_began_with(grid: Grid) -> None:
    begun = grid.params
    small_grid(grid.root, overlay(CHANGES, {"unremix": {"encoder": {"width": 8}}}))
    run(Grid("small", grid.root, given=begun), "probe", SIMCLR)


# ---- what rows name


def rows_of(folder: Path) -> list[Row]:
    loaded = rows_in(folder)
    assert not loaded.problems
    return loaded.rows


def test_rows_name_what_is_asked_of_them(finished: Path) -> None:
    """Written out: the parameters of training and of the protocol, the code that led to them, the judged data."""
    grid = Grid("small", finished)
    sections = {"transfer_probe": ["probe"], "corruptions": ["corruptions", "probe"]}
    sections["head_corruptions"] = ["corruptions", "robustness"]
    sections["own_attack"] = ["robustness", "own_attacks"]
    sections |= {"cross_validate": ["folds", "probe"], "inductive": ["folds", "probe", "inductive"]}
    sections |= {"validate_knn": ["probe"], "validate_few_shot": ["few_shot"]}
    sections |= {name: ["robustness"] for name in ("attack", "validate", "shifted_attack", "transfer_attack")}
    found, references = rows_of(finished), ("pixels", "histogram", "wl-kernel")
    assert {row.stage for row in found} == {stage.name for stage in WITH_ROWS}
    for row in found:
        job = Job(row.track, row.dataset, row.method, row.seed)
        params: list[Section] = [grid.params.data]
        if row.method not in references:
            params.append(grid.track(row.track).pretrain(row.method, job.trained.dataset))
        for name in sections.get(row.stage, [row.stage]):
            params.append(getattr(grid.track(row.track), name).on(job.trained.dataset, job.judged))
        hashes = [params_hash(section) for section in params]
        if row.protocol.source not in (None, row.method):
            hashes.append(params_hash(grid.track(row.track).pretrain(row.protocol.source, row.dataset)))
        assert row.params_hash == joined(hashes) == grid.asked_params(row.stage, job, row.protocol.source)
        judged, trained = (finished / grid.data_folder(row.track, name) for name in (job.judged, job.trained.dataset))
        assert row.data_hash == open_prepared(judged).meta.hash
        assert row.trained_data_hash == (None if row.method in references else open_prepared(trained).meta.hash)
        code = grid.training_code(job)
        led_to_it = {"uamix-mae": ["pretrain", "tune"], **{name: [] for name in references}}.get(row.base, ["pretrain"])
        assert len(code) == len(led_to_it) + (row.track == "uamix"), "of sound also that of its spectrograms"
        code += [grid.code(name, job) for name in STAGES[row.stage].code]
        if row.protocol.source not in (None, row.method):
            source = replace(job, method=row.protocol.source)
            code += [*grid.training_code(source), *(grid.code(name, source) for name in STAGES[row.stage].code)]
        assert row.code_hash == joined(code) == grid.asked_code(row.stage, job, row.protocol.source)
        assert row.base == {"unremix-exp": "unremix"}.get(row.method, row.method.partition("-trial-")[0])
        assert row.preset == "small" and row.device == "cpu"


def test_protocols_are_those_that_the_parameters_ask_for(finished: Path) -> None:
    """Part by part (tests/asked_protocols.py): readers pick columns, curves and tables by them."""
    grid, found = Grid("small", finished), {}
    for row in rows_of(finished):
        place = (row.stage, Job(row.track, row.dataset, row.method, row.seed))
        found.setdefault(place, []).append(row.protocol)
    assert {stage for stage, _ in found} == {stage.name for stage in WITH_ROWS}
    for (stage, job), protocols in found.items():
        assert set(protocols) == asked_protocols(grid, stage, job), (stage, job)
        assert len({protocol.name for protocol in protocols}) == len({p.column for p in protocols}) == len(protocols)


def test_rows_lie_where_they_say_and_every_seed_has_the_same(finished: Path) -> None:
    loaded = rows_in(finished)
    measured: dict[tuple, set] = {}
    for each in loaded.stored:
        row = each.row
        job = Job(row.track, row.dataset, row.method, row.seed)
        whole = {
            Scope.SEED: job, Scope.SEEDS: replace(job, seed=-1), Scope.METHODS: replace(job, method="all")
        }[STAGES[row.stage].scope]  # fmt: skip
        assert each.path == str(Grid("small", finished).layout.rows(row.stage, whole))
        measured.setdefault((row.stage, row.track, row.dataset, row.method), set()).add((row.seed, row.protocol))
    for (stage, track, *_), found in measured.items():
        seeds = [10] if stage in VALIDATING else Grid("small", finished).track(track).seeds
        assert {seed for seed, _ in found} == set(seeds)
        assert len({frozenset(p for s, p in found if s == seed) for seed in seeds}) == 1


def test_a_transferred_attack_depends_on_the_parameters_of_its_source(finished: Path) -> None:
    grid = Grid("small", finished)
    target = Job("swaro", "digits", "supervised", 0)
    own, other = (grid.asked_params("transfer_attack", target, source) for source in ("supervised", "swaro"))
    params = grid.params
    settings = params.swaro.settings  # type: ignore[attr-defined]
    swaro = settings.swaro.model_copy(update={"eps": 0.2})
    section = params.track("swaro").model_copy(update={"settings": settings.model_copy(update={"swaro": swaro})})
    changed = Grid("small", finished, given=params.model_copy(update={"swaro": section}))
    assert changed.asked_params("transfer_attack", target, "supervised") == own
    assert changed.asked_params("transfer_attack", target, "swaro") != other
    assert changed.asked_params("attack", target) == grid.asked_params("attack", target)


def test_radii_for_a_new_data_set_leave_classifiers_and_states_of_the_others(grid: Grid) -> None:
    """What is not stale must also be taken: the transfer attack reads the classifiers that `attack` left."""
    job, suite = ON["transfer_attack"], grid.track("swaro").robustness
    assert suite is not None
    budgets = suite.budgets | {"cifar10": suite.budgets["digits"]}
    section = grid.track("swaro").model_copy(update={"robustness": suite.model_copy(update={"budgets": budgets})})
    changed = Grid("small", given=grid.params.model_copy(update={"swaro": section}))
    for stage in ("attack", "validate", "shifted_attack", "transfer_attack"):
        assert changed.state(stage, ON[stage]) == grid.state(stage, ON[stage])
    picture = ("swaro", "digits", "adversarial-examples", 0)
    assert changed.figure_state(*picture) == grid.figure_state(*picture)
    assert run(changed, "transfer_attack", job)


def test_rows_made_just_now_all_count_and_none_is_of_older_code(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished)
    loaded = rows_that_count(preset="small")
    assert not loaded.left_out and not loaded.problems and not loaded.older
    assert len(loaded.rows) == len(rows_of(finished))


# The stage ``inductive`` trains its own encoders: their warnings and device, not those of the one that saw all graphs.
OF_THAT_TRAINING = [(stage, job) for stage, job in READERS[1:] if stage != "inductive"]


@pytest.mark.parametrize(("stage", "job"), OF_THAT_TRAINING, ids=named)
def test_a_warning_of_training_marks_every_row(grid: Grid, stage: str, job: Job) -> None:
    warning = "the loss never moved"
    edit_record(grid, trained_by(job), {"warnings": [warning]})
    rows = run(grid, stage, job)
    assert rows
    for row in rows:
        failed = row.detail.get("failed_checks", [])
        assert (warning in failed) == (row.method == trained_by(job).method), row.protocol.name
    assert any(warning in row.detail.get("failed_checks", []) for row in rows)


@pytest.mark.parametrize(("stage", "job"), OF_THAT_TRAINING, ids=named)
def test_the_device_of_a_row_is_that_of_training(grid: Grid, stage: str, job: Job) -> None:
    edit_record(grid, trained_by(job), {"device": "NVIDIA H100"})
    rows = run(grid, stage, job)
    assert rows
    assert {row.device for row in rows if row.method == trained_by(job).method} == {"NVIDIA H100"}


# ---- what makes a job stale


def with_other_code(monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    """As if the code of one stage had changed."""
    original = grid_module.fingerprint
    other = lambda name, *modules: "other" if name == stage else original(name, *modules)  # noqa: E731
    monkeypatch.setattr(grid_module, "fingerprint", other)


@pytest.mark.parametrize("changed", list(STAGES))
def test_a_job_is_stale_when_what_its_outputs_name_has_changed(
    finished: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    """Else Snakemake would keep a run.json that every stage refuses, or rows that older code made."""
    monkeypatch.chdir(finished)
    before, jobs = Grid("small"), [(name, job) for name in TRAINING for job in (SIMCLR, MAE, TUNED)]
    records = {(name, job): asked_record(before, job, "d") for name, job in jobs if before.training_stage(job) == name}
    states = {place: before.state(*place) for place in records}
    code = {(row.stage, row.method): row.code_hash for row in rows_of(finished)}
    row_states = {(name, job): before.state(name, job) for name, job in ON.items() if name != "features"}
    with_other_code(monkeypatch, changed)
    after = Grid("small")
    for (name, job), record in records.items():
        assert (after.state(name, job) != states[name, job]) == (asked_record(after, job, "d") != record), (name, job)
    for (name, job), state in row_states.items():
        method = trained_by(job).method
        other_rows = after.asked_code(name, trained_by(job)) != code[name, method]
        assert (after.state(name, job) != state) == other_rows, name


def test_a_method_that_is_tuned_brings_its_start_with_it(tmp_path: Path) -> None:
    """Listed or not, the autoencoder is trained, planned and recorded."""
    shutil.copytree(ATTACKS, tmp_path / "attacks")
    grid = small_grid(tmp_path, overlay(CHANGES, {"uamix": {"methods": ["pixels", "uamix-mae"]}}))
    assert grid.jobs("pretrain", "uamix") == [MAE] and grid.jobs("tune", "uamix") == [TUNED]
    assert [job.method for job in grid.jobs("probe", "uamix")] == ["pixels", "uamix-mae"]
    assert set(grid.inputs("tune", TUNED)) & set(grid.outputs("pretrain", MAE))


# ---- the command line


@pytest.mark.parametrize("cloned", [False, True])
def test_a_seed_measured_by_hand_leaves_the_other_seeds_rows(grid: Grid, cloned: bool) -> None:
    path = grid.layout.rows("probe", replace(SIMCLR, seed=-1))
    before = [row for row in rows_of(grid.root) if row.stage == "probe" and row.method == "simclr"]
    assert measured_here(grid.layout, path)
    if cloned:
        grid.layout.receipt(path).unlink()
    edit_record(grid, SIMCLR, {"warnings": ["stuck"]})
    command("probe unremix digits simclr 0 --preset small")
    assert measured_here(grid.layout, path) != cloned, "the other seed's rows came with the clone"
    after = [each.row for each in rows_in(grid.root).stored if each.path == str(path)]
    assert [(row.seed, row.protocol) for row in after] == [(row.seed, row.protocol) for row in before]
    assert [row for row in after if row.seed == 1] == [row for row in before if row.seed == 1]
    assert all(("failed_checks" in row.detail) == (row.seed == 0) for row in after)


def test_code_that_changed_since_the_run_began_is_refused(grid: Grid) -> None:
    state = grid.state("probe", replace(SIMCLR, seed=-1))
    command(f"probe unremix digits simclr --preset small --state {state}")
    with pytest.raises(AssertionError, match="the code has changed since this run began"):
        command("probe unremix digits simclr --preset small --state 123456789abc")


@pytest.mark.parametrize("dataset", ["digits", "digits-to-stl10"])
def test_a_transfer_is_between_two_data_sets_that_the_parameters_name(grid: Grid, dataset: str) -> None:
    """On its own data it would be a probe, whose rows it would give twice."""
    with pytest.raises(
        UserError, match=f"{dataset}: not among the pairs of unremix.transfer; known: digits-to-mnist5k"
    ):
        grid.job("transfer_probe", "unremix", dataset, "simclr")
