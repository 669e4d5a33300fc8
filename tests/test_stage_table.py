"""The table of stages is true: modules, inputs, outputs, the tables that rows belong in."""

import inspect
import shutil
from importlib import import_module
from pathlib import Path

import pytest
from conftest import REPOSITORY
from finished_project import command, command_of, every_job

from contrastbench.jobs.runtime import Runtime
from contrastbench.pipeline.by_hand import note_beside
from contrastbench.pipeline.grid import TARGETS, Grid
from contrastbench.pipeline.groups import Group
from contrastbench.pipeline.layout import Job
from contrastbench.pipeline.stages import GROUPS, STAGES, WITH_ROWS, Scope, group_of
from contrastbench.results.load import rows_in
from contrastbench.results.protocols import FORMS, Protocol
from contrastbench.results.rows import Row

# A job of every stage that has outputs of its own; of judging stages also one on other data than were trained on.
JOBS = [
    ("pretrain", Job("unremix", "digits", "simclr", 0)),
    ("pretrain", Job("uamix", "instruments", "mae", 0)),
    ("pretrain", Job("graphs", "mutag", "graphcl-simclr", 0)),
    ("pretrain", Job("graphs", "mutag", "graphcl-unremix")),
    ("tune", Job("uamix", "instruments", "uamix-mae", 0)),
    ("features", Job("unremix", "digits", "pixels", 0)),
    ("features", Job("graphs", "mutag", "histogram")),
    ("features", Job("graphs", "mutag", "infograph", 0)),
    ("features", Job("uamix", "instruments", "uamix-mae", 0)),
    ("probe", Job("unremix", "digits", "pixels")),
    ("probe", Job("unremix", "digits", "simclr")),
    ("transfer_probe", Job("unremix", "digits-to-mnist5k", "simclr")),
    ("cross_validate", Job("graphs", "mutag", "histogram")),
    ("cross_validate", Job("graphs", "mutag", "wl-kernel")),
    ("cross_validate", Job("graphs", "mutag", "infograph")),
    ("inductive", Job("graphs", "mutag", "graphcl-unremix")),
    ("few_shot", Job("uamix", "instruments", "mae")),
    ("few_shot", Job("uamix", "instruments-to-esc50", "pixels")),
    ("few_shot", Job("uamix", "instruments-to-esc50", "uamix-mae")),
    ("low_shot", Job("uamix", "instruments", "uamix-mae")),
    ("low_shot", Job("uamix", "instruments-to-esc50", "mae")),
    ("corruptions", Job("unremix", "digits", "simclr")),
    ("diagnostics", Job("unremix", "digits", "simclr")),
    ("diagnostics", Job("graphs", "mutag", "graphcl-unremix")),
    ("head_corruptions", Job("swaro", "digits", "swaro")),
    ("head_corruptions", Job("swaro", "digits", "supervised")),
    ("audio_attack", Job("uamix", "instruments", "mae")),
    ("audio_attack", Job("uamix", "instruments-to-esc50", "uamix-mae")),
    ("attack", Job("swaro", "digits", "swaro", 0)),
    ("own_attack", Job("swaro", "digits", "swaro", 0)),
    ("validate", Job("swaro", "digits", "swaro", 0)),
    ("validate_knn", Job("unremix", "digits", "simclr", 0)),
    ("validate_few_shot", Job("uamix", "instruments", "uamix-mae", 0)),
    ("validate_few_shot", Job("uamix", "instruments-to-esc50", "uamix-mae", 0)),
    ("shifted_attack", Job("swaro", "digits-to-mnist5k", "supervised")),
    ("transfer_attack", Job("swaro", "digits", seed=0)),
]
# What commands remember, of which no result depends.
MEMORY = {Path("runs/sources.json")}


# Modules whose command is no step of the pipeline: no target asks for it, no row of it enters results/.
NO_STEPS = {"attack_model"}


def files_in(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def bring(source: Path, target: Path, inputs: list[Path]) -> set[Path]:
    """Copy parameters and inputs; ``meta.json`` stands for all arrays beside it."""
    shutil.copy(source / "params.yaml", target)
    for name in ("presets", "attacks"):
        shutil.copytree(source / name, target / name)
    for path in inputs:
        for file in (source / path).parent.iterdir() if path.name == "meta.json" else [source / path]:
            copy = target / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)
    return files_in(target)


def test_every_stage_that_has_outputs_of_its_own_is_tried() -> None:
    assert {name for name, _ in JOBS} == {stage.name for stage in STAGES.values() if stage.leaves or stage.rows}


@pytest.mark.parametrize(("stage", "job"), JOBS, ids=lambda value: value if isinstance(value, str) else value.name)
def test_a_job_needs_just_what_it_declares_and_leaves_just_that(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, job: Job
) -> None:
    grid = Grid("small", finished)
    before = bring(finished, tmp_path, grid.inputs(stage, job))
    monkeypatch.chdir(tmp_path)
    command(command_of(stage, job))
    outputs = set(grid.outputs(stage, job))
    receipts = {grid.layout.receipt(path) for path in outputs if path.suffix == ".jsonl"}
    assert files_in(tmp_path) - before - MEMORY == outputs | receipts
    assert len(receipts) == STAGES[stage].rows


@pytest.mark.parametrize(
    ("track", "dataset", "name"),
    [
        ("uamix", "instruments", "reconstructions"),
        ("uamix", "instruments", "mixtures"),
        ("swaro", "digits", "adversarial-examples"),
        ("graphs", "mutag", "views"),
    ],
)
def test_a_still_image_needs_just_what_it_declares(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, track: str, dataset: str, name: str
) -> None:
    grid = Grid("small", finished)
    before = bring(finished, tmp_path, grid.figure_inputs(track, dataset, name, 0))
    monkeypatch.chdir(tmp_path)
    command(f"figures {track} {dataset} {name} 0 --preset small")
    assert files_in(tmp_path) - before - MEMORY == {grid.figure(track, dataset, name, 0)}


def test_spectrograms_need_just_the_prepared_sound(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Grid("small", finished).layout
    before = bring(finished, tmp_path, [layout.prepared("esc50") / "meta.json"])
    monkeypatch.chdir(tmp_path)
    command("spectrograms uamix esc50 --preset small")
    folder = layout.spectrograms("uamix", "esc50")
    made = files_in(tmp_path) - before - MEMORY - {note_beside(folder)}
    assert {path.parent for path in made} == {folder}
    assert all((finished / path).read_bytes() == (tmp_path / path).read_bytes() for path in made)


def test_the_whole_run_leaves_just_what_the_grid_lists(finished: Path) -> None:
    grid = Grid("small", finished)
    stages = [stage for stage in STAGES.values() if stage.leaves or stage.rows]
    jobs = [(stage.name, job) for stage in stages for job in every_job(grid, stage.name)]
    wanted = {path for name, job in jobs for path in grid.outputs(name, job)}
    receipts = {grid.layout.receipt(path) for path in wanted if path.suffix == ".jsonl"}
    left = {path for path in files_in(finished) if path.parts[0] in ("runs", "results")}
    assert left - MEMORY == wanted | receipts
    assert {path for track in grid.params.tracks for target in TARGETS for path in grid.rows(track, target)} == {
        path for path in wanted if path.suffix == ".jsonl"
    }


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_is_a_function_of_its_modules_name(name: str) -> None:
    function = getattr(import_module(f"contrastbench.stages.{name}"), name)
    signature = inspect.signature(function)
    if name in ("tables", "report"):  # render rows, which their commands read once for several files
        assert next(iter(signature.parameters)) == "loaded"
        return
    kinds = {key: parameter.annotation for key, parameter in signature.parameters.items()}
    assert kinds == {"grid": Grid, "job": Job, "runtime": Runtime}
    assert signature.return_annotation == (list[Row] if STAGES[name].rows else None)


def test_every_module_of_the_stages_is_in_the_table() -> None:
    modules = {path.stem for path in (REPOSITORY / "src/contrastbench/stages").glob("*.py")} - {"__init__"}
    assert modules == set(STAGES) | NO_STEPS


def test_code_that_rows_name_is_of_stages_and_ends_with_their_own() -> None:
    for stage in WITH_ROWS:
        assert stage.code[-1] == stage.name and set(stage.code) <= set(STAGES)
        of_projections = stage.name == "diagnostics"
        if {"features", "weights"} & set(stage.reads) and not of_projections:
            assert "features" in stage.code, f"{stage.name}: rows rest on how features are extracted"


def groups_that_hold(stage: str, protocol: Protocol) -> list[Group]:
    return [group for group in STAGES[stage].groups if group.holds(protocol)]


def written_protocols(finished: Path) -> set[tuple[str, Protocol]]:
    loaded = rows_in(finished)
    assert not loaded.problems
    return {(row.stage, row.protocol) for row in loaded.rows}


# Protocols of the stage ``attack`` that the small project leaves out.
LEFT_OUT = [
    Protocol(family="noise", norm="linf", eps=0.1),
    Protocol(family="square", norm="linf", eps=0.1, steps=50),
    Protocol(family="foolbox-pgd", norm="linf", eps=0.1, steps=5),
    Protocol(family="foolbox-pgd", norm="l1", eps=2.0, steps=5),
    Protocol(family="autoattack", norm="linf", eps=0.1),
    *(Protocol(family=family, norm="l2", steps=5) for family in ("deepfool", "cw", "ddn", "hopskipjump")),
]


def test_every_protocol_belongs_in_one_table_of_its_stage(finished: Path) -> None:
    written = written_protocols(finished)
    alf = [(stage, protocol) for stage, protocol in written if protocol.head == "alf"]
    assert {stage for stage, _ in alf} == {"attack", "own_attack", "head_corruptions", "shifted_attack"}
    every = written | {
        ("attack", each.model_copy(update={"head": head})) for each in LEFT_OUT for head in ("slf", "own")
    }
    every |= {(stage, protocol.model_copy(update={"head": "aff"})) for stage, protocol in alf}
    assert {protocol.family for _, protocol in every} == set(FORMS)
    for stage, protocol in every:
        (group,) = groups_that_hold(stage, protocol)
        assert group is group_of(protocol), "the table of a protocol is that of its stage"
        owners = {other.name for other in STAGES.values() if group in other.groups}
        shared = ({"probe", "transfer_probe"}, {"attack", "shifted_attack"}, {"corruptions", "head_corruptions"})
        assert owners == {stage} or owners in shared


def test_a_table_that_nothing_belongs_in_is_none_of_a_stage() -> None:
    """Of every table there is a family that only it holds, or a head or norm."""
    for group in GROUPS:
        assert group.families or group.head, group.title
        assert set(group.families) <= set(FORMS), group.title
        assert len({(other.families, other.norm, other.head) for other in GROUPS}) == len(GROUPS)


def test_stages_with_rows_are_judged_per_seed_or_over_seeds() -> None:
    assert {stage.scope for stage in WITH_ROWS} == {Scope.SEED, Scope.SEEDS, Scope.METHODS}
    assert [stage.name for stage in STAGES.values() if stage.rows and not stage.groups] == []
