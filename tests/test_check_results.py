import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from reporting_rows import row, verdicts, write
from typer.testing import CliRunner

from contrastbench.cli import app
from contrastbench.errors import UserError
from contrastbench.reporting.cells import cells_of
from contrastbench.reporting.check import reproduction_of, stale_files, tolerance
from contrastbench.results.load import ROWS, Loaded, Stored, rows_in

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


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A committed project with true tables."""
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "--quiet")
    (tmp_path / ".gitignore").write_text("results/*/smoke/\n")
    (tmp_path / "README.md").write_text(README)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/simclr.md").write_text("<!-- table: default/unremix -->\n<!-- end -->\n")
    write(tmp_path, [*rows(), row("unremix-exp", correct=verdicts(0.6))])
    assert run("tables").exit_code == 0
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "results")
    return tmp_path


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_rows_that_the_parameters_ask_for_no_more_are_left_out_and_told_of(project):
    """Else rows of older parameters would stand beside new ones when a seed or a method is dropped."""
    (project / "params.yaml").write_bytes((Path(__file__).parent.parent / "params.yaml").read_bytes())
    asked = rows(protocol="linear")
    write(project, [*asked, row("simclr", 7, correct=verdicts(0.9)), row("no-more", 0, correct=verdicts(0.9))])
    result = run("tables", "--preset", "default", "--track", "unremix")
    assert result.exit_code == 0, result.output
    told = [line for line in result.output.splitlines() if "left out" in line]
    assert len(told) == 1 and "and " in told[0] and "more: left out" in told[0]
    table = (project / "results/tables/default/unremix.md").read_text()
    assert "no-more" not in table and "90.0" not in table and "3 seeds" in table


def test_a_mistake_in_another_preset_stops_no_tables(project):
    repository = Path(__file__).parent.parent
    (project / "params.yaml").write_bytes((repository / "params.yaml").read_bytes())
    (project / "presets").mkdir()
    (project / "presets/cifar.yaml").write_text("unremixx: {}\n")
    write(project, [*rows(protocol="linear"), row("simclr", preset="cifar", correct=verdicts(0.6))])
    assert run("tables", "--preset", "default", "--track", "unremix").exit_code == 0
    assert run("tables", "--track", "unremix").exit_code == 0
    assert isinstance(run("tables").exception, UserError)


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
    assert run("tables").exit_code == 0 and run("check-results").exit_code == 0


def test_a_changed_row_makes_every_file_that_shows_it_stale(project):
    write(project, [row("simclr", 0, correct=verdicts(0.3))])
    assert {line.partition(":")[0] for line in stale_files(rows_in(project), project)} == {
        "README.md",
        "docs/simclr.md",
        "results/tables/default/unremix.md",
        "results/tables/default/unremix.csv",
        "results/tables/default/unremix.tex",
        "results/metrics/default/unremix.json",
    }


def test_missing_and_left_over_files_fail(project):
    (project / "results/tables/default/unremix.csv").unlink()
    (project / "results/tables/default/swaro.md").write_text("of no row")
    (project / "results/tables/gone").mkdir()
    (project / "results/tables/gone/unremix.md").write_text("of no row")
    lines = stale_files(rows_in(project), project)
    assert lines == [
        "results/tables/default/unremix.csv: missing",
        "results/tables/default/swaro.md: no rows for it",
        "results/tables/gone/unremix.md: no rows for it",
    ]


def test_rows_that_git_ignores_need_no_tables(project):
    write(project, [row(preset="smoke")])
    assert run("check-results").exit_code == 0
    write(project, [row(preset="cifar")])
    assert "results/tables/cifar/unremix.md: missing" in run("check-results").output


@pytest.mark.parametrize("reproduced", [[], ["--reproduced"]])
def test_a_row_that_cannot_be_read_fails_though_the_tables_are_true_to_the_rest(project, reproduced):
    (project / ROWS / "default/probe/unremix/mnist5k/simclr/linear/1.json").write_text("")
    assert run("tables").exit_code == 0
    result = run("check-results", *reproduced)
    assert result.exit_code == 1 and "1.json: not a result row" in result.stderr
    assert "result rows that cannot be read: 1" in result.stderr and result.stdout == ""


def test_rows_that_are_left_out_are_no_error(project):
    (project / "params.yaml").write_bytes((Path(__file__).parent.parent / "params.yaml").read_bytes())
    write(project, [*rows(protocol="linear"), row("simclr", 7, correct=verdicts(0.9))])
    assert run("tables").exit_code == 0
    result = run("check-results")
    assert result.exit_code == 0 and "left out" in result.stderr, result.output


@pytest.mark.parametrize("command", [["check-results"], ["tables"], ["export", "--format", "csv"], ["report"]])
def test_a_folder_without_rows_is_one_line_and_no_success(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    result = run(*command)
    assert isinstance(result.exception, UserError) and result.output == ""
    assert str(result.exception) == "results/rows: no result rows here; `snakemake --cores all` makes them"


def test_a_run_that_measured_nothing_reproduces_nothing(project):
    shutil.rmtree(project / ROWS)
    result = run("check-results", "--reproduced")
    assert isinstance(result.exception, UserError) and "none of 3 committed cells is measured here" in str(
        result.exception
    )


def test_an_identical_run_is_reproduced_exactly(project):
    result = run("check-results", "--reproduced")
    assert result.exit_code == 0
    assert "reproduced: 3 of 3 cells within tolerance, 3 of them identical" in result.output


def test_another_machines_noise_is_within_tolerance(project):
    write(project, rows(0.705, noise=9))
    result = run("check-results", "--reproduced")
    assert result.exit_code == 0
    assert "reproduced: 3 of 3 cells within tolerance, 1 of them identical" in result.output


def test_a_real_difference_or_other_data_is_not_reproduced(project):
    write(project, [row("simclr", seed, correct=verdicts(0.6, seed=seed)) for seed in range(3)])
    write(project, [row("unremix", seed, correct=verdicts(0.8, seed=seed), data_hash="x") for seed in range(3)])
    result = run("check-results", "--reproduced")
    assert result.exit_code == 1
    assert "reproduced: 1 of 3 cells within tolerance" in result.output
    assert "simclr linear top1: 0.6" in result.output and "the test data differ" in result.output


def test_a_missing_cell_is_counted_and_a_first_run_has_nothing_to_compare_with(project, tmp_path):
    for file in (project / ROWS / "default/probe/unremix/mnist5k/simclr").rglob("1.json"):
        file.unlink()
    assert (
        "2 of 3 cells within tolerance, 2 of them identical; 1 not measured here"
        in run("check-results", "--reproduced").output
    )
    git(project, "rm", "-r", "--quiet", "--cached", "results/rows")
    git(project, "commit", "--quiet", "--message", "no rows")
    result = run("check-results", "--reproduced")
    assert result.exit_code == 0 and "nothing to compare with" in result.output


def test_tolerance_is_the_interval_or_three_spreads():
    (wide,) = cells_of([row(value=0.5).model_copy(update={"interval": (0.4, 0.6)})]).values()
    assert tolerance(wide) == pytest.approx(0.1)
    (spread,) = cells_of([row(seed=0, value=0.5), row(seed=1, value=0.6)]).values()
    assert tolerance(spread) == pytest.approx(3 * 0.1 / 2**0.5)
    committed = Loaded([Stored(item, "probe", "") for item in spread.rows])
    moved = [item.model_copy(update={"value": item.value + 0.2}) for item in spread.rows]
    assert reproduction_of(committed, Loaded([Stored(item, "probe", "") for item in moved])).within


@pytest.mark.parametrize(("form", "sign"), [("csv", "preset"), ("markdown", "| `simclr` |"), ("latex", r"\toprule")])
def test_export_prints_tables(project, form, sign):
    result = run("export", "--format", form)
    assert result.exit_code == 0 and sign in result.output


def test_export_writes_all_rows_as_one_parquet(project):
    assert run("export", "--format", "parquet").exit_code == 0
    frame = pd.read_parquet(project / "results/rows.parquet")
    assert len(frame) == 7 and set(frame["stage"]) == {"probe"}
    assert frame["value"].tolist() == [item.row.value for item in rows_in(project).rows]
