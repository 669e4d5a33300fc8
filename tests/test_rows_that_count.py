"""Rows of other parameters, data or seeds than those asked for never count; rows of older code count, with a mark."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml
from reporting_rows import asked, loaded, parameters, path_of, row, verdicts, write, write_old
from typer.testing import CliRunner

from contrastbench.cli import app
from contrastbench.params.base import params_hash
from contrastbench.params.root import from_content
from contrastbench.pipeline.asked import rows_that_count, runs_that_count
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.reporting.cells import cells_of
from contrastbench.reporting.render import as_csv, as_latex, as_markdown
from contrastbench.reporting.report import build_report
from contrastbench.reporting.tables import tables_of
from contrastbench.results.load import ROWS, rows_in
from contrastbench.results.rows import Row, write_rows

README = "# Results\n<!-- table: default/unremix/mnist5k -->\n<!-- end -->\n"
METHODS = {"simclr": 0.9, "hcl": 0.9, "unremix": 0.92}
BEFORE = parameters(unremix__seeds=[0, 1, 2])
AFTER = parameters(
    unremix__training__epochs=1, unremix__seeds=[0, 1], unremix__methods=["simclr", "unremix"], unremix__ablation=[]
)


def made(rates: dict[str, float], content: dict, seeds: tuple[int, ...], *, old: bool = False, **fields) -> list[Row]:
    """Rows as a run with these parameters and the present code leaves them."""
    rows = [row(name, s, correct=verdicts(rate, seed=s), **fields) for name, rate in rates.items() for s in seeds]
    return asked(rows, from_content(content, "test"), old=old)


@pytest.fixture(params=[False, True], ids=["a file of all seeds", "old layout"])
def project(request, tmp_path, monkeypatch) -> Path:
    """After ``seeds: [0, 1]``, fewer epochs and one method less: the run's rows, and what lay there before."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(AFTER))
    (tmp_path / "README.md").write_text(README)
    stale = [
        *made({"hcl": 0.9}, BEFORE, (0, 1, 2), old=request.param),
        *made({"simclr": 0.9, "unremix": 0.92}, BEFORE, (2,), old=request.param),
        *made({"simclr": 0.9, "unremix": 0.92}, BEFORE, (0, 1), old=request.param, protocol="low-label-20"),
    ]
    new = made({"simclr": 0.72, "unremix": 0.6}, AFTER, (0, 1), old=request.param)
    if request.param:
        write_old(tmp_path, [*new, *stale])
    else:
        for method in METHODS:
            file = path_of(row(method)).with_name("all.jsonl")
            write_rows(file, [item for item in (*new, *stale) if item.method == method])
    return tmp_path


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def told(result) -> list[str]:
    """The lines on stderr, of which there must be one for each reason, and nothing else."""
    lines = result.stderr.splitlines()
    assert len(lines) == 2, lines
    assert (
        sum("not asked for by the parameters (any more)" in line and "5 rows left out" in line for line in lines) == 1
    )
    assert sum("made with other parameters" in line and "4 rows left out" in line for line in lines) == 1
    return lines


def test_tables_readme_and_metrics_show_what_is_asked_for(project):
    result = run("tables", "--docs")
    assert result.exit_code == 0
    told(result)
    for name in ("results/tables/default/unremix.md", "README.md"):
        text = (project / name).read_text()
        assert "hcl" not in text and "low-label-20" not in text and "†" not in text
        assert re.search(r"`simclr` \| \*\*72\.\d \[6\d\.\d, 7\d\.\d\]\*\* ", text) and "2 seeds" in text
    metrics = json.loads((project / "results/metrics/default/unremix.json").read_text())
    assert list(metrics["mnist5k"]) == ["linear"] and set(metrics["mnist5k"]["linear"]) == {"simclr", "unremix"}
    assert run("check-results").exit_code == 0


def test_report_and_export_show_what_is_asked_for(project):
    result = run("report")
    assert result.exit_code == 0
    told(result)
    page = (project / "results/report.html").read_text()
    assert "<code>hcl</code>" not in page and "<code>simclr</code>" in page
    assert page.count("rows left out") == 2, "the page tells of them too"
    for form in ("csv", "markdown", "latex"):
        result = run("export", "--format", form)
        told(result)
        assert "simclr" in result.stdout and "hcl" not in result.stdout and "low-label-20" not in result.stdout
    told(run("export", "--format", "parquet"))
    frame = pd.read_parquet(project / "results/rows.parquet")
    assert len(frame) == 4 and set(frame["seed"]) == {0, 1}


def test_a_method_that_is_compared_has_the_rows_that_are_asked_for(project):
    result = run("compare", "--methods", "simclr", "unremix", "--json")
    told(result)
    (cell,) = json.loads(result.stdout)["cells"]
    assert cell["before"]["seeds"] == cell["after"]["seeds"] == [0, 1]


def test_rows_judged_on_other_data_than_those_here_are_left_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(BEFORE))
    write(tmp_path, [*made(METHODS, BEFORE, (0, 1)), *made(METHODS, BEFORE, (2,), data_hash="x" * 12)])
    found = rows_that_count()
    assert {item.seed for item in found.rows} == {0, 1}, "what most rows were judged on, where no data are here"
    (line,) = found.left_out
    assert "3 rows left out: made on other data" in line
    content = {"name": "mnist5k", "modality": "image", "classes": ["a", "b"], "splits": {}, "hash": "x" * 12}
    folder = tmp_path / "data/prepared/mnist5k"
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(json.dumps(content | {"source": "", "licence": "", "split_rule": ""}))
    assert {item.seed for item in rows_that_count().rows} == {2}


def of_older_code(rows: list[Row]) -> list[Row]:
    return [item.model_copy(update={"code_hash": "0" * 12}) for item in rows]


def test_rows_of_older_code_count_marked_and_are_counted_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(BEFORE))
    (tmp_path / "README.md").write_text(README)
    now = made({"simclr": 0.7, "unremix": 0.8}, BEFORE, (0, 1, 2))
    write(tmp_path, [*now[:2], *of_older_code(now[2:3]), *now[3:]])
    result = run("tables", "--docs")
    assert result.stderr == ("contrastbench: 1 of 6 rows were made by older code of their stages; marked †\n")
    for name in ("results/tables/default/unremix.md", "README.md"):
        text = (tmp_path / name).read_text()
        (simclr,) = [line for line in text.splitlines() if line.startswith("| `simclr`")]
        (unremix,) = [line for line in text.splitlines() if line.startswith("| `unremix`")]
        assert simclr.endswith(" † |") and "†" not in unremix
        assert "†: not all of its rows were made by the present code" in text
    latex = (tmp_path / "results/tables/default/unremix.tex").read_text()
    assert latex.count(r"$\dagger$") == 2 and latex.count("not all of its rows") == 1
    frame = pd.read_csv(tmp_path / "results/tables/default/unremix.csv")
    assert dict(zip(frame["method"], frame["older_code"], strict=True)) == {"simclr": True, "unremix": False}
    assert run("report").exit_code == 0
    page = (tmp_path / "results/report.html").read_text()
    assert len(re.findall(r"\]<i>†</i></td>", page)) == 2, "in the summary, which has no claim to tell of, and below"
    assert page.count("†: not all of its rows") == 1
    assert page.count("1 of 6 rows were made by older code of their stages; marked †") == 1


def test_a_cell_never_averages_rows_of_different_code_without_the_mark():
    """Also where no parameters say what the present code is."""
    rows = [row("simclr", seed, code_hash=code * 12) for seed, code in enumerate("aab")]
    tables = tables_of(loaded([*rows, row("hcl")]))
    assert [cell.older for cell in cells_of(loaded(rows)).values()] == [True]
    assert as_markdown(tables).count("†") == 2 and as_csv(tables).count("True") == 1


def test_without_a_mark_nothing_is_said_of_it(tmp_path):
    rows = [row("simclr"), row("hcl")]
    tables = tables_of(loaded(rows))
    assert "†" not in as_markdown(tables) and "dagger" not in as_latex(tables, "")
    write(tmp_path, rows)
    assert "†" not in build_report(rows_in(tmp_path), "default", {}, tmp_path).partition("<script>")[0]


def test_where_there_are_no_parameters_all_rows_count(tmp_path):
    write(tmp_path, [row("simclr"), row("no-more", 7)])
    assert len(rows_that_count(tmp_path).rows) == 2 and (tmp_path / ROWS).is_dir()


def pair_rows() -> list[Row]:
    """Rows of an encoder that is judged on another data set than it was trained on."""
    place = {"track": "uamix", "dataset": "instruments-to-fsdd", "stage": "transfer_probe"}
    rows = asked([row("mae", seed, **place) for seed in range(3)], from_content(WITH_PAIR, "test"))
    return [item.model_copy(update={"trained_data_hash": "i" * 12}) for item in rows]


WITH_PAIR = parameters(uamix__transfer=[{"train": "instruments", "probe": "fsdd"}])


def test_rows_of_an_encoder_that_was_trained_on_other_data_are_left_out(tmp_path):
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(WITH_PAIR))
    found = pair_rows()
    write(tmp_path, [*found[:2], found[2].model_copy(update={"trained_data_hash": "x" * 12})])
    loaded = rows_that_count(tmp_path)
    assert {item.seed for item in loaded.rows} == {0, 1}
    assert len(loaded.left_out) == 1 and "1 rows left out: made on other data" in loaded.left_out[0]


def test_the_split_of_the_data_shapes_every_row_and_what_is_judged_elsewhere_none():
    attack = ("attack", Job("swaro", "mnist5k", "swaro"))
    few_shot, probe = ("few_shot", Job("uamix", "instruments", "mae")), ("probe", Job("unremix", "mnist5k", "simclr"))
    places = (attack, few_shot, probe)

    def hashes(content: dict) -> list[str]:
        grid = Grid(given=from_content(content, "test"))
        return [grid.asked_params(*place) for place in places]

    before = hashes(BEFORE)
    split = hashes(parameters(data__validation_fraction=0.2))
    assert all(now != then for now, then in zip(split, before, strict=True))
    elsewhere = parameters(uamix__few_shot__datasets={"instruments": ["instruments"], "esc50": ["esc50"]})
    budgets = elsewhere["swaro"]["robustness"]["budgets"]
    budgets["digits"] = budgets["mnist5k"] | {"main": 0.2}
    assert hashes(elsewhere) == before
    budgets["mnist5k"] = budgets["mnist5k"] | {"main": 0.2}
    assert [now == then for now, then in zip(hashes(elsewhere), before, strict=True)] == [False, True, True]


def test_a_transferred_attack_is_older_where_the_code_of_its_source_changed():
    grid, job = Grid(given=from_content(BEFORE, "test")), Job("swaro", "mnist5k", "supervised")
    own, carried = (grid.asked_code("transfer_attack", job, source) for source in ("supervised", "swaro"))
    assert own == grid.asked_code("transfer_attack", job) != carried


def test_snakemakes_tables_refuse_a_file_that_other_parameters_made(tmp_path, monkeypatch):
    """The whole table would lack its rows, and Snakemake would think that all is done."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(BEFORE))
    write(tmp_path, made({"simclr": 0.7}, BEFORE, (0, 1, 2)))
    path = Path(f"{ROWS}/default/probe/unremix/mnist5k/hcl/all.jsonl")
    write_rows(path, made({"hcl": 0.7}, AFTER, (0, 1, 2)))
    assert run("tables", "--docs").exit_code == 0, "by hand: what counts is shown, the rest is told"
    refused = "rows made with other parameters than those asked for; delete it and run Snakemake again"
    assert str(run("tables", "--track", "unremix").exception) == f"{path}: {refused}"
    write_rows(path, [*made({"hcl": 0.7}, AFTER, (0, 1, 2)), *made({"hcl": 0.7}, BEFORE, (7,))])
    assert str(run("tables", "--track", "unremix").exception) == f"{path}: {refused}", "whatever else lies there"
    write_rows(path, [*made({"hcl": 0.7}, BEFORE, (0, 1, 2)), *made({"hcl": 0.7}, BEFORE, (7,))])
    assert run("tables", "--track", "unremix").exit_code == 0, "a seed that is asked for no more is no reason"


def test_remedies_name_the_preset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(BEFORE))
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets/mine.yaml").write_text("{}\n")
    for command in ("report", "tables", "export"):
        form = ("--format", "csv") if command == "export" else ()
        told = str(run(command, "--preset", "mine", *form, *(["--track", "swaro"] * (command == "tables"))).exception)
        assert "`snakemake --cores all --config preset=mine` makes them" in told
        if command == "report":
            assert str(run(command, "--preset", "min").exception).startswith("unknown preset 'min'; did you mean")
    assert str(run("tables", "--target", "cost").exception) == "--target cost: goes with --track"
    unknown = run("tables", "--track", "swaro", "--target", "costs")
    assert str(unknown.exception) == "--target costs: must be ablation or cost or search"


def test_rows_of_a_preset_that_is_no_more_are_left_out(tmp_path):
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(BEFORE))
    write(tmp_path, [*made({"simclr": 0.7}, BEFORE, (0,)), row("simclr", preset="gone")])
    loaded = rows_that_count(tmp_path)
    assert loaded.presets() == ["default"] and "no such preset (any more)" in loaded.left_out[0]


def test_training_runs_of_other_parameters_are_not_shown(tmp_path):
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(BEFORE))
    grid = Grid(given=from_content(BEFORE, "test"))
    job = Job("unremix", "mnist5k", "simclr", 0)
    for seed, digits in ((0, params_hash(grid.pretrain_params(job))), (1, "0" * 12)):
        folder = tmp_path / grid.layout.run("pretrain", replace(job, seed=seed))
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({"params_hash": digits}))
    assert [found.seed for found in runs_that_count(tmp_path, "default")] == [0]
