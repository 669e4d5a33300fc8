"""Snakemake and DVC over one DAG: both agree on what is stale, and only that runs again.

The tests run the real pipeline, at the size of the smoke preset, in a copy of the project.
"""

import csv
import io
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY
from project_copy import Project

from contrastbench.pipeline.dvc_file import render
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.steps import step, steps

SIMCLR_JOB = ("unremix", "digits", "simclr", "0")


def small_parameters() -> dict:
    """params.yaml of a project with one track, two methods and one seed: the smoke preset made the default."""
    from contrastbench.params.base import overlay, read_yaml

    content = overlay(read_yaml(REPOSITORY / "params.yaml"), read_yaml(REPOSITORY / "presets" / "smoke.yaml"))
    content["tracks"] = ["unremix"]
    content["unremix"] |= {"methods": ["pixels", "simclr", "unremix"], "transfer": []}
    return content


def first_row(path: Path) -> dict:
    return json.loads(path.read_text().splitlines()[0])


def draws_in(path: Path) -> int:
    """How many draws the rows of the low-label probe have."""
    (row,) = [row for row in map(json.loads, path.read_text().splitlines()) if row["protocol"]["family"] == "low-label"]
    return len(row["detail"]["draws"])


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that Snakemake has run and DVC has recorded."""
    folder = tmp_path_factory.mktemp("project")
    project = Project(folder)
    (folder / "params.yaml").write_text(yaml.safe_dump(small_parameters(), sort_keys=False), encoding="utf-8")
    project.run("git", "init", "-q", "-b", "main")
    project.run("dvc", "init", "-q")
    project.run("contrastbench", "dvc-file")
    project.snakemake()
    project.run("contrastbench", "record")
    project.commit("recorded")
    return project


@pytest.fixture
def project(recorded: Project) -> Project:
    """The recorded project, brought back to its recorded state afterwards through git and ``restore``."""
    yield recorded
    recorded.run("git", "reset", "-q", "--hard", "main")
    recorded.run("git", "checkout", "-q", "main")
    recorded.run("contrastbench", "restore", "--force")


def test_the_committed_dvc_file_fits_the_parameters() -> None:
    assert (REPOSITORY / "dvc.yaml").read_text(encoding="utf-8") == render(Grid(root=REPOSITORY))


def test_after_recording_neither_tool_has_anything_to_do(project: Project) -> None:
    assert project.stale_jobs() == Counter()
    assert project.stale_steps() == set()
    assert "up to date" in project.run("dvc", "repro")


def test_another_preset_prepares_the_shared_data_no_second_time(project: Project) -> None:
    (project.folder / "presets" / "other.yaml").write_text("unremix: {seeds: [7]}\n", encoding="utf-8")
    stale = project.stale_jobs("--config", "preset=other")
    assert stale["pretrain"] and not stale["prepare"]


def test_steps_and_rules_mirror_each_other(tmp_path: Path) -> None:
    """Every job of the default run belongs to exactly one step, and every output to that step's outputs."""
    project = Project(tmp_path)
    grid = Grid(root=tmp_path)
    answer = project.run("snakemake", "--forceall", "--dry-run", "--cores", "1")
    jobs = re.findall(r"^(?:local)?rule (\w+):\n(?:    .*\n)*?    output: (.*)\n", answer, re.MULTILINE)
    assert {rule for rule, _ in jobs} == {rule for step in steps(grid) for rule in step.rules}
    kept = {step.name: (*step.folders, *step.tracked, *step.metrics) for step in steps(grid)}
    for rule, outputs in jobs:
        for output in outputs.split(", "):
            owners = [name for name, paths in kept.items() if any(Path(output).is_relative_to(path) for path in paths)]
            assert len(owners) == 1, f"{rule}: {output} belongs to {owners}"
            assert rule in next(step.rules for step in steps(grid) if step.name == owners[0])
    asked = {str(path) for step in steps(grid) for path in step.files}
    made = {output for _, outputs in jobs for output in outputs.split(", ")}
    assert asked <= made


def test_results_do_not_depend_on_the_number_of_cores(recorded: Project, tmp_path: Path) -> None:
    project = Project(tmp_path)
    shutil.copy(recorded.folder / "params.yaml", tmp_path)
    project.run("snakemake", "--cores", "1", "results/tables/default/unremix.md")
    for table in ("tables/default/unremix.md", "tables/default/unremix.csv", "metrics/default/unremix.json"):
        assert (tmp_path / "results" / table).read_bytes() == (recorded.folder / "results" / table).read_bytes()
    weights = "runs/default/pretrain/unremix/digits/unremix/0/model.safetensors"
    assert (tmp_path / weights).read_bytes() == (recorded.folder / weights).read_bytes()


def test_tables_are_stale_with_all_that_shapes_a_row(repository: Path) -> None:
    """Rows of a dropped seed still lie in the folders that DVC sees, and the tables leave them out."""
    assert step(Grid("default", repository), "tables-unremix").keys == ("data", "unremix")


@pytest.mark.parametrize(
    ("old", "new", "jobs", "first_steps"),
    [
        (
            "    low_label_draws: 2",
            "    low_label_draws: 3",
            {"judge": 5},
            {"probe-unremix", "corruptions-unremix", "tables-unremix", "report"},
        ),
        (
            "      standardized: false",
            "      standardized: true",
            {"pretrain": 1, "features": 1, "judge": 3},
            {
                "pretrain-unremix",
                "probe-unremix",
                "corruptions-unremix",
                "diagnostics-unremix",
                "tables-unremix",
                "report",
            },
        ),
        (
            "    epochs: 1",
            "    epochs: 2",
            {"pretrain": 2, "features": 2, "judge": 6},
            {
                "pretrain-unremix",
                "probe-unremix",
                "corruptions-unremix",
                "diagnostics-unremix",
                "tables-unremix",
                "report",
            },
        ),
    ],
)
def test_a_parameter_makes_just_what_reads_it_stale(
    project: Project, old: str, new: str, jobs: dict[str, int], first_steps: set[str]
) -> None:
    """The classifier of corrupted images is the probe's, whose section its rows name whole."""
    project.edit("params.yaml", old, new)
    stale = project.stale_jobs()
    assert {rule: stale[rule] for rule in jobs} == jobs
    assert stale["prepare"] == 0
    assert project.stale_steps() == first_steps, "others follow once these have run"


def test_equal_weights_do_not_hide_new_parameters_from_snakemake(project: Project) -> None:
    """``log_every_steps`` changes the history and the parameters that rows name, not the weights."""
    project.edit("params.yaml", "    log_every_steps: 4", "    log_every_steps: 2")
    trained = [f"runs/default/pretrain/unremix/digits/{method}/0/run.json" for method in ("simclr", "unremix")]
    project.run("snakemake", "--cores", "2", "--", *trained)
    assert project.stale_jobs()["judge"] == 6, "probe, corruptions and diagnostics of each"
    project.run("snakemake", "--cores", "2", "--", "results/tables/default/unremix.md")  # killed before the report
    assert project.stale_jobs() == Counter({"report": 1})


def test_equal_weights_do_not_hide_new_parameters_from_dvc(project: Project) -> None:
    rows = project.folder / "results/rows/default/probe/unremix/digits/simclr/all.jsonl"
    report = project.folder / "results/report.html"
    before, drawn = first_row(rows), report.stat().st_mtime_ns
    project.edit("params.yaml", "    log_every_steps: 4", "    log_every_steps: 2")
    project.run("dvc", "repro")
    after = first_row(rows)
    assert after["value"] == before["value"] and after["params_hash"] != before["params_hash"]
    assert report.stat().st_mtime_ns != drawn
    assert project.stale_jobs() == Counter() and project.stale_steps() == set()


def test_the_report_is_stale_with_any_parameter_because_it_names_their_hash(project: Project) -> None:
    project.edit("params.yaml", "      hardest: ", "      hardest: 1")
    assert project.stale_jobs() == Counter({"report": 1})
    assert project.stale_steps() == {"report", "tables-unremix"}, "which rows count is asked of the whole track"


def test_dvc_repro_runs_what_a_parameter_touches_and_no_more(project: Project) -> None:
    features = project.folder / "runs/default/features/unremix/digits/simclr/0/features.safetensors"
    before = features.stat().st_mtime_ns
    rows = project.folder / "results/rows/default/probe/unremix/digits/simclr/all.jsonl"
    draws = draws_in(rows)
    project.edit("params.yaml", "    low_label_draws: 2", "    low_label_draws: 4")
    project.run("dvc", "repro")
    assert (draws, draws_in(rows)) == (2, 4)
    assert features.stat().st_mtime_ns == before
    assert project.stale_jobs() == Counter() and project.stale_steps() == set()
    assert "low_label_draws" in project.run("dvc", "params", "diff")
    assert "low-label-5" in project.run("dvc", "metrics", "diff", "--all")


def test_only_a_change_of_meaning_in_the_code_makes_a_step_stale(project: Project) -> None:
    loss = "src/contrastbench/objectives/contrastive.py"
    project.edit(loss, "import math\n", "import math  # a comment\n\n")
    project.run("contrastbench", "fingerprint")
    assert project.stale_jobs() == Counter()
    assert project.stale_steps() <= {"fingerprint"}, "DVC looks at the code again, and finds it unchanged"
    assert "Running stage 'pretrain" not in project.run("dvc", "repro", "--dry")
    project.edit("src/contrastbench/methods/simclr.py", "first.detach()", "second.detach()")
    stale = project.stale_jobs()
    assert (stale["pretrain"], stale["features"], stale["judge"]) == (1, 1, 4), (
        "SimCLR's jobs, and whose negatives are ranked on it"
    )
    project.run("contrastbench", "fingerprint")
    assert project.stale_steps() >= {"pretrain-unremix"}


def test_a_deleted_output_is_seen_by_both(project: Project) -> None:
    (project.folder / "runs/default/features/unremix/digits/simclr/0/features.safetensors").unlink()
    assert project.stale_steps() >= {"features-unremix"}
    assert "Running stage 'features-unremix'" in project.run("dvc", "repro", "--dry")
    project.run("dvc", "repro")
    assert project.stale_jobs() == Counter() and project.stale_steps() == set()


def test_a_deleted_array_is_refused_by_both_until_it_is_made_again(project: Project) -> None:
    lock = (project.folder / "dvc.lock").read_bytes()
    (project.folder / "data/prepared/digits/train_x.npy").unlink()
    assert project.stale_steps() >= {"prepare"}
    said = "contrastbench: data/prepared/digits/train_x.npy: missing or corrupt"
    answer = project.run("snakemake", "--dry-run", "data/prepared/digits/meta.json", code=1)
    assert said in answer and "run `contrastbench prepare digits`" in answer and "Traceback" not in answer
    assert said in project.run("dvc", "repro", "-s", "prepare", code=255)
    assert said in project.run("contrastbench", "record", code=2)
    assert (project.folder / "dvc.lock").read_bytes() == lock
    project.run("contrastbench", "prepare", "digits")
    assert project.stale_jobs() == Counter() and project.stale_steps() == set(), "the same arrays: nothing is stale"


def test_a_changed_array_is_neither_recorded_nor_judged(project: Project) -> None:
    """Its shape is right, so that only its contents tell."""
    lock, array = (project.folder / "dvc.lock").read_bytes(), project.folder / "data/prepared/digits/test_x.npy"
    array.write_bytes(array.read_bytes()[:-1] + b"\x07")
    said = "test_x.npy: changed since it was prepared; run `contrastbench prepare digits`"
    assert said in project.run("dvc", "repro", "-s", "prepare", code=255)
    answer = project.run("contrastbench", "record", code=2)
    assert answer.splitlines()[-1] == f"contrastbench: data/prepared/digits/{said}"
    assert said in project.run("contrastbench", "features", *SIMCLR_JOB, code=2)
    assert (project.folder / "dvc.lock").read_bytes() == lock


def test_a_blur_wider_than_the_images_is_refused_before_training(project: Project) -> None:
    project.edit("params.yaml", "    blur_kernel: 3", "    blur_kernel: 17")
    line = "unremix.augment.blur_kernel = 17: images of digits have 8 pixels a side, which take at most 15"
    for code, command in ((1, ("snakemake", "--dry-run")), (2, ("contrastbench", "pretrain", *SIMCLR_JOB))):
        answer = project.run(*command, code=code)
        assert answer.strip().splitlines()[-1] == f"contrastbench: {line}" and "Traceback" not in answer
    project.edit("params.yaml", "    blur_kernel: 17", "    blur_kernel: 15")
    project.run("contrastbench", "pretrain", *SIMCLR_JOB)


def test_restore_brings_back_an_older_commit(project: Project) -> None:
    project.edit("params.yaml", "    epochs: 1", "    epochs: 2")
    project.snakemake()
    project.run("contrastbench", "record")
    project.run("git", "checkout", "-q", "-b", "longer")
    project.commit("longer")
    record = project.folder / "runs/default/pretrain/unremix/digits/simclr/0/run.json"
    longer = json.loads(record.read_text())["steps"]
    project.run("git", "checkout", "-q", "main")
    assert project.stale_steps(), "the outputs are still the other commit's"
    project.run("contrastbench", "restore")
    assert json.loads(record.read_text())["steps"] == longer // 2
    assert project.stale_jobs() == Counter() and project.stale_steps() == set()


def test_a_mistake_in_the_parameters_is_one_line_of_snakemake(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.edit("params.yaml", "      tau_plus: 0.1", "      tau_plus: 1.7")
    answer = project.run("snakemake", "--dry-run", code=1)
    line = "contrastbench: params.yaml: unremix.settings.dcl.tau_plus = 1.7: input should be less than 1"
    assert answer.strip().splitlines()[-1] == line and "File " not in answer
    answer = project.run("snakemake", "--dry-run", "--config", "preset=smokee", code=1)
    assert answer.strip().splitlines()[-1] == "contrastbench: unknown preset 'smokee'; did you mean 'smoke'?"


def test_another_seed_attacks_and_trains_no_old_seed(tmp_path: Path) -> None:
    """On empty files that Snakemake takes for a finished run: what it would run is decided by names and hashes.

    The data alone are real, because damaged ones are refused.
    """
    project, content = Project(tmp_path), small_parameters()
    content["tracks"] = ["swaro"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    project.run("contrastbench", "prepare", "digits")
    for line in project.run("snakemake", "--summary").splitlines():
        path = tmp_path / line.partition("\t")[0]
        if path.suffix in (".json", ".jsonl", ".npz", ".safetensors", ".csv", ".md", ".tex", ".png", ".html"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    project.run("snakemake", "--touch", "--forceall", "--cores", "1")
    assert project.stale_jobs() == Counter()
    methods = len([method for method in content["swaro"]["methods"] if method != "pixels"])
    content["swaro"]["seeds"] = [0, 1]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    stale = project.stale_jobs()
    assert (stale["pretrain"], stale["features"]) == (methods, methods)
    assert (stale["attack"], stale["transfer_attack"]) == (methods, 1)


def test_a_clone_without_snakemakes_records_sees_changes_after_restoring(project: Project) -> None:
    shutil.rmtree(project.folder / ".snakemake")
    project.run("contrastbench", "restore")
    assert project.stale_jobs() == Counter()
    project.edit("params.yaml", "    epochs: 1", "    epochs: 2")
    stale = project.stale_jobs()
    assert (stale["pretrain"], stale["features"], stale["judge"]) == (2, 2, 6), (
        "probe, corruptions and diagnostics of each"
    )


def test_a_target_is_measured_where_its_results_came_with_the_clone(tmp_path: Path) -> None:
    project = Project(tmp_path)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(small_parameters(), sort_keys=False), encoding="utf-8")
    grid = Grid(root=tmp_path)
    for path in (*grid.rows("unremix", "ablation"), *grid.tables("unremix", "ablation")):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    table = str(grid.tables("unremix", "ablation")[0])
    for target in ("ablation", table):
        stale = project.stale_jobs("--", target)
        assert stale["pretrain"] == 3, "UnReMix, a variant, and on whose weights negatives are ranked"
        assert stale["judge"] == len(grid.rows("unremix", "ablation")) and stale["target_tables"] == 1


def test_committed_results_are_measured_in_a_fresh_clone_unless_they_are_pulled(
    recorded: Project, tmp_path: Path
) -> None:
    """The story of docs/dvc.md: push, clone, pull, restore, experiment."""
    recorded.run("dvc", "remote", "add", "--default", "storage", str(tmp_path / "remote"))
    recorded.commit("a remote")
    recorded.run("dvc", "push")
    recorded.run("git", "clone", "-q", str(recorded.folder), str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    table = "results/tables/default/unremix.md"
    assert clone.stale_jobs() == Counter(
        {"prepare": 1, "pretrain": 2, "features": 3, "judge": 7, "tables": 1, "report": 1}
    )
    assert clone.stale_jobs("--", table) == clone.stale_jobs() - Counter({"report": 1})
    assert "run `dvc pull` where there is a remote" in clone.run("contrastbench", "restore", code=2)
    clone.run("dvc", "pull")
    clone.run("contrastbench", "restore")
    assert clone.stale_jobs() == Counter() == clone.stale_jobs("--", table) and clone.stale_steps() == set()

    rows = {
        method: clone.folder / f"results/rows/default/probe/unremix/digits/{method}/all.jsonl"
        for method in ("simclr", "unremix")
    }
    before = {method: first_row(path)["params_hash"] for method, path in rows.items()}
    clone.run("dvc", "exp", "run", "--name", "colder", "-S", "unremix.settings.simclr.temperature=0.2")
    after = {method: first_row(path)["params_hash"] for method, path in rows.items()}
    assert [method for method in rows if after[method] != before[method]] == ["simclr"]
    shown = list(csv.DictReader(io.StringIO(clone.run("dvc", "exp", "show", "--csv"))))
    cells = {line["Experiment"] or line["rev"]: line for line in shown}
    temperature, metric = "unremix.settings.simclr.temperature", "digits.linear.simclr"
    assert (cells["main"][temperature], cells["colder"][temperature]) == ("0.5", "0.2")
    assert cells["main"][metric] and cells["colder"][metric]


def test_dvc_runs_any_preset(project: Project) -> None:
    overlay = {"unremix": {"methods": ["pixels"], "training": {"epochs": 2}}}
    (project.folder / "presets/mine.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
    project.run("contrastbench", "dvc-file", "--preset", "mine")
    stage = yaml.safe_load((project.folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"]["probe-unremix"]
    assert "unremix.training" in stage["params"], "what the preset leaves as it is"
    assert {"presets/mine.yaml": ["unremix.datasets", "unremix.methods"]} not in stage["params"], "only what it sets"
    assert {"presets/mine.yaml": ["unremix.methods", "unremix.training"]} in stage["params"]
    project.run("dvc", "repro", "tables-unremix")
    table = (project.folder / "results/tables/mine/unremix.md").read_text(encoding="utf-8")
    assert "`pixels`" in table and "`simclr`" not in table
    answer = project.run("contrastbench", "record", code=2)
    assert "run `snakemake --cores all --config preset=mine` first" in answer, "the report is missing"
    project.edit("presets/mine.yaml", "- pixels", "- simclr")
    answer = project.run("contrastbench", "run", "probe-unremix", code=2)
    assert "does not fit params.yaml and presets/mine.yaml" in answer
    assert "run `contrastbench dvc-file --preset mine`" in answer


def test_nothing_is_recorded_while_there_is_work_to_do(project: Project) -> None:
    project.edit("params.yaml", "    epochs: 1", "    epochs: 2")
    answer = project.run("contrastbench", "record", code=2)
    assert answer.strip().splitlines()[-1].startswith("contrastbench: nothing recorded: Snakemake has work to do")


def test_a_dvc_file_that_does_not_fit_is_refused(project: Project) -> None:
    project.edit("params.yaml", "  - unremix\n  seeds", "  seeds")
    answer = project.run("contrastbench", "run", "probe-unremix", code=2)
    assert "run `contrastbench dvc-file`" in answer
