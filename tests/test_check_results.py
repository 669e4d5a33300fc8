"""Are rendered files true to the rows, and does what was measured here repeat what is committed?"""

import json
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from reporting_rows import ROOT, asked, loaded, path_of, row, verdicts, write, write_old
from typer.testing import CliRunner

from contrastbench.cli import app
from contrastbench.cli.stages import _judge
from contrastbench.errors import UserError
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job, Layout
from contrastbench.pipeline.measured import measured_here, write_receipt
from contrastbench.pipeline.stages import STAGES
from contrastbench.reporting.cells import cells_of
from contrastbench.reporting.check import reproduction_of, stale_files, tolerance
from contrastbench.results.load import ROWS, rows_in
from contrastbench.results.rows import Row, write_rows

README = "# Results\n<!-- table: default/unremix/mnist5k -->\n<!-- end -->\n"


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def rows(rate: float = 0.7, noise: int = 0, **fields) -> list:
    return [
        row(method, seed, correct=verdicts(rate + shift, seed=seed + noise), **fields)
        for method, shift in (("simclr", 0.0), ("unremix", 0.1))
        for seed in range(3)
    ]


def measure(found: list[Row]) -> None:
    """Write rows as jobs of this checkout do, in the working directory."""
    write(Path(), found)
    for item in found:
        write_receipt(Layout(item.preset), path_of(item))


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A committed project with true tables."""
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "--quiet")
    (tmp_path / ".gitignore").write_text("results/*/smoke/\nruns/\n")
    (tmp_path / "README.md").write_text(README)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/simclr.md").write_text("<!-- table: default/unremix -->\n<!-- end -->\n")
    write(tmp_path, [*rows(), row("unremix-exp", correct=verdicts(0.6))])
    assert run("tables", "--docs").exit_code == 0
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "results")
    return tmp_path


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_a_mistake_in_another_preset_stops_no_tables(project):
    (project / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (project / "presets").mkdir()
    (project / "presets/cifar.yaml").write_text("unremixx: {}\n")
    write(project, [*asked(rows()), row("simclr", preset="cifar", correct=verdicts(0.6))])
    assert run("tables", "--preset", "default", "--track", "unremix").exit_code == 0
    assert run("tables", "--track", "unremix").exit_code == 0
    assert isinstance(run("tables", "--docs").exception, UserError)


def test_true_tables_pass(project):
    result = run("check-results")
    assert result.exit_code == 0, result.output
    assert "true to 7 rows" in result.output


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "docs/simclr.md",
        "results/tables/default/unremix.md",
        "results/tables/default/unremix.csv",
        "results/tables/default/unremix.tex",
        "results/tables/default/unremix-ablation.md",
        "results/metrics/default/unremix.json",
    ],
)
def test_a_tampered_file_fails_and_is_named(project, name):
    file = project / name
    digit = next(character for character in file.read_text() if character in "6789")
    file.write_text(file.read_text().replace(digit, "5"))
    result = run("check-results")
    assert result.exit_code == 1
    assert f"{name}: stale" in result.output
    assert result.output.count("\n") == 1
    assert run("tables", "--docs").exit_code == 0 and run("check-results").exit_code == 0


@pytest.mark.parametrize("name", ["results/tables/default/unremix.md", "results/metrics/default/unremix.json"])
def test_a_rendered_file_of_any_bytes_is_stale_and_mended(project, name):
    (project / name).write_bytes(b"\xff\xfe{[NaN, 1e999]")
    assert f"{name}: stale" in run("check-results").output
    assert run("tables", "--docs").exit_code == 0 and run("check-results").exit_code == 0


def test_a_folder_in_the_place_of_a_rendered_file_is_one_line(project):
    name = "results/metrics/default/unremix.json"
    (project / name).unlink()
    (project / name).mkdir()
    assert f"{name}: missing" in run("check-results").output
    error = run("tables", "--docs").exception
    assert isinstance(error, UserError) and str(error).startswith(f"{name}: cannot be written")


def test_a_document_that_is_no_text_is_one_line(project):
    (project / "docs/simclr.md").write_bytes(b"\xff\xfe")
    for command in (["tables", "--docs"], ["check-results"]):
        error = run(*command).exception
        assert isinstance(error, UserError) and "docs/simclr.md: not a readable document" in str(error)


def test_a_changed_row_makes_every_file_that_shows_it_stale(project):
    """Not the ablation, which shows other methods."""
    write(project, [row("simclr", 0, correct=verdicts(0.3))])
    assert {line.partition(":")[0] for line in stale_files(rows_in(project), project)} == {
        "README.md",
        "docs/simclr.md",
        *(f"results/tables/default/unremix.{kind}" for kind in ("md", "csv", "tex")),
        "results/metrics/default/unremix.json",
    }


def test_documents_are_rewritten_by_docs_alone(project):
    """Rows of a private experiment must not end up in README."""
    write(project, [row("simclr", 0, correct=verdicts(0.3)), row(preset="mine")])
    before = {name: (project / name).read_bytes() for name in ("README.md", "docs/simclr.md")}
    for command in (["tables", "--preset", "mine"], ["tables"]):
        assert run(*command).exit_code == 0
    assert (project / "results/tables/mine/unremix.md").is_file()
    assert {name: (project / name).read_bytes() for name in before} == before
    assert run("tables", "--docs").output == "written: README.md\nwritten: docs/simclr.md\n"
    for option in ("--preset", "--track"):
        assert "--docs: goes without" in str(run("tables", "--docs", option, "mine").exception)


def test_missing_and_left_over_files_fail(project):
    (project / "results/tables/default/unremix.csv").unlink()
    (project / "results/tables/default/swaro.md").write_text("of no row")
    (project / "results/tables/gone").mkdir()
    (project / "results/tables/gone/unremix.md").write_text("of no row")
    lines = stale_files(rows_in(project), project)
    assert lines == [
        "results/tables/default/unremix.csv: missing; run `contrastbench tables --docs`",
        "results/tables/default/swaro.md: no rows for it; delete it",
        "results/tables/gone/unremix.md: no rows for it; delete it",
    ]


def test_rows_that_git_ignores_need_no_tables(project):
    write(project, [row(preset="smoke")])
    assert run("check-results").exit_code == 0
    write(project, [row(preset="cifar")])
    assert "results/tables/cifar/unremix.md: missing" in run("check-results").output


@pytest.mark.parametrize("reproduced", [[], ["--reproduced"]])
def test_a_row_that_cannot_be_read_fails_though_the_tables_are_true_to_the_rest(project, reproduced):
    (project / path_of(row("simclr", 1))).write_text("{")
    assert run("tables", "--docs").exit_code == 0
    result = run("check-results", *reproduced)
    assert result.exit_code == 1 and "1.jsonl:1: not a result row" in result.stderr
    assert "result rows that cannot be read: 1" in result.stderr and result.stdout == ""


def test_rows_that_are_left_out_are_no_error(project):
    (project / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    shutil.rmtree(project / ROWS)
    write(project, asked([*rows(), row("simclr", 7, correct=verdicts(0.9))]))
    shutil.rmtree(project / "results/tables")
    assert run("tables", "--docs").exit_code == 0
    result = run("check-results")
    assert result.exit_code == 0 and result.stderr.count("left out") == 1, result.output


@pytest.mark.parametrize("command", [["check-results"], ["tables"], ["export", "--format", "csv"], ["report"]])
def test_a_folder_without_rows_is_one_line_and_no_success(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    result = run(*command)
    assert isinstance(result.exception, UserError) and result.output == ""
    assert str(result.exception) == "results/rows: no result rows that count; `snakemake --cores all` makes them"


# Reproduced?


def test_an_untouched_clone_reproduces_nothing(project, tmp_path_factory, monkeypatch):
    """It said "1565 of 1565 cells identical": the committed rows, compared with themselves."""
    clone = tmp_path_factory.mktemp("parent") / "clone"
    git(project, "clone", "--quiet", str(project), str(clone))
    monkeypatch.chdir(clone)
    error = run("check-results", "--reproduced").exception
    assert isinstance(error, UserError) and str(error) == (
        "none of the 3 cells that are committed was measured in this checkout; `snakemake --cores all` measures them"
    )


def test_a_run_without_rows_reproduces_nothing(project):
    shutil.rmtree(project / ROWS)
    error = run("check-results", "--reproduced").exception
    assert isinstance(error, UserError) and "none of the 3 cells that are committed was measured" in str(error)


def test_an_identical_run_is_reproduced_exactly(project):
    measure([*rows(), row("unremix-exp", correct=verdicts(0.6))])
    result = run("check-results", "--reproduced")
    assert result.exit_code == 0
    first, *others = result.output.splitlines()
    assert first == (
        "reproduced: 3 of 3 committed cells were measured here: 3 identical, 0 within tolerance, 0 outside"
    )
    assert len(others) == 1, "all else is how to read it"


def test_what_was_not_measured_here_is_counted_by_stage_and_not_judged(project):
    other = {"track": "swaro", "stage": "attack", "protocol": "clean"}
    write(project, [row("swav", correct=verdicts(0.6), **other), row("rocl", correct=verdicts(0.6), **other)])
    write(project, [row("simclr", preset="cifar", correct=verdicts(0.6))])
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "more")
    measure(rows()[:3])
    write(project, [row("rocl", correct=verdicts(0.1), **other)])  # not measured: there is no receipt
    result = run("check-results", "--reproduced")
    assert result.exit_code == 0
    assert result.output.splitlines()[:2] == [
        "reproduced: 1 of 6 committed cells were measured here: 1 identical, 0 within tolerance, 0 outside",
        "not measured here: 5 committed cells (cifar probe 1, default attack 2, default probe 2)",
    ]


def test_a_file_that_has_changed_since_it_was_measured_was_not_measured(project):
    measure(rows())
    write(project, [row("simclr", seed, correct=verdicts(0.2)) for seed in range(3)])
    assert "1 of 3 committed cells were measured here" in run("check-results", "--reproduced").output
    git(project, "checkout", "--quiet", "results/rows")
    assert "2 of 3 committed cells were measured here" in run("check-results", "--reproduced").output


@pytest.mark.parametrize("damaged", [b"", b"\xff\xfe", b"0" * 64])
def test_a_damaged_receipt_is_none(project, damaged):
    measure(rows())
    layout, file = Layout("default"), path_of(rows()[0])
    assert measured_here(layout, file)
    layout.receipt(file).write_bytes(damaged)
    assert not measured_here(layout, file)
    layout.receipt(file).unlink()
    layout.receipt(file).mkdir()
    assert not measured_here(layout, file)


def test_one_seed_measured_anew_in_a_committed_file_does_not_vouch_for_the_others(project, monkeypatch):
    """A job of some seeds keeps the rows of the others, which came with the clone."""
    (project / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    grid, whole = Grid(), Job("unremix", "mnist5k", "simclr")
    file = grid.layout.rows("probe", whole)
    write_rows(file, rows()[:3])

    def judge(*seeds: int) -> None:
        made = {seed: [row("simclr", seed, correct=verdicts(0.7, seed=seed))] for seed in range(3)}
        monkeypatch.setattr("contrastbench.cli.stages._run", lambda grid, stage, job, device: made[job.seed])
        _judge(grid, STAGES["probe"], whole, [Job("unremix", "mnist5k", "simclr", seed) for seed in seeds], "cpu")

    judge(0)
    assert len(rows_in().rows) >= 3 and not measured_here(grid.layout, file)
    judge(0, 1, 2)
    assert measured_here(grid.layout, file)
    judge(1)
    assert measured_here(grid.layout, file), "all of its rows were measured here"


def test_a_cell_measured_with_some_seeds_is_judged_on_these(project):
    measure([row("simclr", seed, correct=verdicts(0.7, seed=seed)) for seed in (0, 2)])
    lines = run("check-results", "--reproduced").output.splitlines()
    assert "1 of 3 committed cells were measured here: 1 identical" in lines[0]
    assert lines[2] == "measured here with some of the committed seeds only: 1 cells"


def test_another_machines_noise_is_within_tolerance(project):
    measure(rows(0.705, noise=9))
    result = run("check-results", "--reproduced")
    assert result.exit_code == 0
    assert "2 of 3 committed cells were measured here: 0 identical, 2 within tolerance, 0 outside" in result.output


def test_what_was_measured_with_other_parameters_reproduces_nothing(project):
    (project / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    found = asked(rows())
    stale = [item.model_copy(update={"params_hash": "q" * 12}) for item in found if item.method == "simclr"]
    measure([*stale, *(item for item in found if item.method == "unremix")])
    result = run("check-results", "--reproduced")
    assert "1 of 3 committed cells were measured here: 1 identical" in result.output
    assert "4 rows left out: made with other parameters" in result.stderr


def test_a_real_difference_or_other_data_is_not_reproduced(project):
    measure([row("simclr", seed, correct=verdicts(0.6, seed=seed), params_hash="q" * 12) for seed in range(3)])
    measure([row("unremix", seed, correct=verdicts(0.8, seed=seed), data_hash="x") for seed in range(3)])
    result = run("check-results", "--reproduced")
    assert result.exit_code == 1
    assert "2 of 3 committed cells were measured here: 0 identical, 0 within tolerance, 2 outside" in result.output
    told = [line for line in result.stderr.splitlines() if line.startswith("outside tolerance: ")]
    assert len(told) == 2
    assert "unremix mnist5k linear top1 simclr: 0.6" in told[0] and told[0].endswith("; the parameters differ")
    assert told[1].endswith("; the test data differ")


def test_one_preset_alone_is_judged(project):
    measure(rows())
    measure(rows(0.9, preset="smoke"))
    error = run("check-results", "--reproduced", "--preset", "smoke").exception
    assert isinstance(error, UserError) and "no rows of preset 'smoke' are committed at HEAD" in str(error)
    git(project, "add", "--force", "results/rows/smoke")
    git(project, "commit", "--quiet", "--message", "smoke")
    measure(rows(0.9, preset="smoke"))
    result = run("check-results", "--reproduced", "--preset", "smoke")
    assert result.exit_code == 0 and "2 of 2 committed cells were measured here: 2 identical" in result.output
    assert "2 of 2" not in run("check-results", "--reproduced", "--preset", "default").output
    error = run("check-results", "--reproduced", "--preset", "cifar").exception
    assert isinstance(error, UserError) and "none of the 0 cells of preset 'cifar'" in str(error)
    assert isinstance(run("check-results", "--preset", "smoke").exception, UserError)


def test_cells_that_are_not_committed_are_counted_and_a_first_run_has_nothing_to_compare_with(project):
    measure([*rows(), *rows(protocol="knn", stage="features")])
    assert "measured here, but not committed: 2 cells" in run("check-results", "--reproduced").output
    git(project, "rm", "-r", "--quiet", "--cached", "results/rows")
    git(project, "commit", "--quiet", "--message", "no rows")
    result = run("check-results", "--reproduced")
    assert result.exit_code == 0 and "nothing to compare with" in result.output


def test_rows_committed_in_the_old_layout_are_held_against_new_ones(project):
    """Sound was hashed by its spectrograms then; what was judged is compared, and told where it differs."""
    few = {"track": "uamix", "dataset": "instruments", "protocol": "few-shot-5-way-1-shot-cl2n", "stage": "few_shot"}
    shutil.rmtree(project / ROWS)
    sound = [row("mae", seed, correct=verdicts(0.6, seed=seed), data_hash="0" * 12, **few) for seed in range(3)]
    fgsm = {"track": "swaro", "stage": "attack", "protocol": "fgsm@0.1", "metric": "robust-top1"}
    images = [row("swav", seed, correct=verdicts(0.3, seed=seed), **fgsm) for seed in range(3)]
    write_old(project, [*rows(), *sound, *images])
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "old layout")
    shutil.rmtree(project / ROWS)
    new = [item.model_copy(update={"data_hash": "d" * 12}) for item in sound]
    other = [item.model_copy(update={"data_hash": "x" * 12}) for item in images]
    measure([*rows(), *new, *other])
    result = run("check-results", "--reproduced")
    assert "4 of 4 committed cells were measured here: 3 identical, 0 within tolerance, 1 outside" in result.output
    (told,) = [line for line in result.stderr.splitlines() if line.startswith("outside tolerance: ")]
    assert "fgsm@0.1 robust-top1 swav" in told and told.endswith("; the test data differ")


def test_tolerance_is_the_interval_or_three_spreads():
    (wide,) = cells_of(loaded([row(value=0.5).model_copy(update={"interval": (0.4, 0.6)})])).values()
    assert tolerance(wide) == pytest.approx(0.1)
    (spread,) = cells_of(loaded([row(seed=0, value=0.5), row(seed=1, value=0.6)])).values()
    assert tolerance(spread) == pytest.approx(3 * 0.1 / 2**0.5)
    committed = loaded(list(spread.rows))
    moved = [item.model_copy(update={"value": item.value + 0.2}) for item in spread.rows]
    assert reproduction_of(committed, loaded(moved)).within


# Export


@pytest.mark.parametrize(("form", "sign"), [("csv", "preset"), ("markdown", "| `simclr` |"), ("latex", r"\toprule")])
def test_export_prints_tables(project, form, sign):
    result = run("export", "--format", form)
    assert result.exit_code == 0 and sign in result.output


def test_export_writes_all_rows_as_one_parquet(project):
    assert run("export", "--format", "parquet").exit_code == 0
    frame = pd.read_parquet(project / "results/rows.parquet")
    assert len(frame) == 7 and set(frame["stage"]) == {"probe"}
    assert frame["value"].tolist() == [item.value for item in rows_in(project).rows]
    assert set(frame["protocol"]) == set(frame["protocol_family"]) == {"linear"}
    assert json.loads(frame["detail"][0]) == {}
