import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from reporting_rows import row, verdicts, write
from typer.testing import CliRunner

from contrastbench.cli import app
from contrastbench.errors import UserError
from contrastbench.pipeline.grid import Grid
from contrastbench.reporting.cells import cells_of, method_order
from contrastbench.reporting.render import as_csv, as_latex, as_markdown, latex_escape, markdown_grid
from contrastbench.reporting.rendered import metrics_json, rendered_files, with_tables
from contrastbench.reporting.tables import BEST, TIED, ablation_tables, tables_of
from contrastbench.results.load import ROWS, parse_all, rows_in
from contrastbench.results.protocols import FAMILIES, OTHER, family_of

THREE = (0, 1, 2)


def clear_winner() -> list:
    rates = {"pixels": 0.5, "simclr": 0.7, "unremix": 0.9}
    return [row(method, seed, correct=verdicts(rate, seed=seed)) for method, rate in rates.items() for seed in THREE]


def test_a_cell_has_the_mean_and_the_sample_spread_of_its_seeds():
    values = [0.9, 0.92, 0.97]
    (cell,) = cells_of([row(seed=seed, value=value) for seed, value in enumerate(values)]).values()
    assert cell.mean == pytest.approx(np.mean(values))
    assert cell.spread == pytest.approx(np.std(values, ddof=1))
    assert (cell.seeds, cell.n) == (3, "500")
    assert cells_of([row()]).popitem()[1].spread is None


def test_methods_come_in_registry_order_and_variants_after_their_base():
    shuffled = ["mae-ct-short", "unremix-softmix", "simclr", "no-such", "mae-ct", "pixels", "unremix", "mae"]
    expected = ["pixels", "simclr", "unremix", "unremix-softmix", "mae", "mae-ct", "mae-ct-short", "no-such"]
    assert sorted(shuffled, key=method_order) == expected


def test_protocols_are_ordered_by_number_and_split_into_families():
    protocols = ["low-label-20", "low-label-5", "linear", "pgd-20-linf@0.1", "cw-l2"]
    tables = tables_of([row(protocol=name) for name in protocols])
    assert [[column.protocol for column in table.columns] for table in tables] == [
        ["linear", "low-label-5", "low-label-20"],
        ["pgd-20-linf@0.1"],
        ["cw-l2"],
    ]


@pytest.mark.parametrize(
    ("protocol", "title"),
    [
        ("clean", "Robust accuracy in l_inf"),
        ("worst-case@0.03137", "Robust accuracy in l_inf"),
        ("autoattack-linf@0.1", "Robust accuracy in l_inf"),
        ("pgd-40-linf@0.1", "PGD in l_inf"),
        ("foolbox-pgd-20-linf@0.1", "Other attacks in l_inf"),
        ("fgsm@0.1", "Other attacks in l_inf"),
        ("aff-pgd-20-linf@0.1", "Adversarial full fine-tuning (AFF)"),
        ("alf-clean", "Adversarial linear head (ALF)"),
        ("apgd-l1@12", "Attacks bounded in l1"),
        ("pgd-20-l2@0.5", "Attacks bounded in l2"),
        ("hopskipjump-l2", "Smallest perturbation that fools"),
        ("transfer-from-simclr@0.1", "Transfer of attacks"),
        ("few-shot-5-way-1-shot-cl2n", "Few-shot episodes"),
        ("low-shot-8", "Low-shot regression"),
        ("something-new", OTHER.title),
    ],
)
def test_protocols_are_told_apart(protocol, title):
    assert family_of(protocol).title == title
    assert sum(re.fullmatch(family.pattern, protocol) is not None for family in FAMILIES) == (title != OTHER.title)


@pytest.mark.parametrize("preset", ["default", "smoke", "paper"])
def test_every_protocol_of_the_grid_has_a_family(preset, repository):
    grid = Grid(preset, repository)
    names = {path.parent.name for track in grid.params.tracks for path in grid.rows(track)}
    assert names and [name for name in names if family_of(name) is OTHER] == []


def test_the_best_is_bold_only_when_significantly_best():
    (table,) = tables_of(clear_winner())
    (column,) = table.columns
    assert table.marks == {("unremix", column): BEST}
    assert re.search(r"\| `unremix` \| \*\*\d\d\.\d ± \d\.\d\*\* \|", markdown_grid(table))


def test_methods_that_tie_for_the_best_are_all_marked():
    close = [row("hcl", seed, correct=verdicts(0.902, seed=seed + 10)) for seed in THREE]
    (table,) = tables_of(clear_winner() + close)
    (column,) = table.columns
    assert table.marks == {("unremix", column): TIED, ("hcl", column): TIED}
    assert "**" not in markdown_grid(table)


def test_a_failed_check_is_marked_and_told_and_takes_no_part():
    broken = [row("hcl", seed, correct=verdicts(0.97, seed=seed), failed_checks=["gradients masked"]) for seed in THREE]
    (table,) = tables_of(clear_winner() + broken)
    (column,) = table.columns
    assert table.marks == {("unremix", column): BEST}
    text = markdown_grid(table)
    assert re.search(r"\| `hcl` \| \d\d\.\d ± \d\.\d ⚠ \|", text)
    assert "⚠ gradients masked: hcl linear" in text


def test_ablation_is_a_table_of_its_own_with_the_base_method():
    variants = [row("unremix-softmix", seed, correct=verdicts(0.8, seed=seed)) for seed in THREE]
    other = [row("unremix", seed, protocol="knn") for seed in THREE]
    rows = clear_winner() + variants + other
    assert "unremix-softmix" not in {method for table in tables_of(rows) for method in table.methods}
    (table,) = ablation_tables(rows)
    assert table.methods == ("unremix", "unremix-softmix")
    assert [column.protocol for column in table.columns] == ["linear"]
    assert ablation_tables(clear_winner(), also=["simclr"]) == []
    (wider,) = ablation_tables(rows, also=["simclr"])
    assert wider.methods == ("simclr", "unremix", "unremix-softmix")


def test_csv_keeps_full_precision_and_every_cell():
    rows = clear_winner()
    frame = pd.read_csv(io.StringIO(as_csv(tables_of(rows))), keep_default_na=False)
    assert list(frame["method"]) == ["pixels", "simclr", "unremix"]
    mean = np.mean([item.value for item in rows if item.method == "simclr"])
    assert frame["mean"][1] == pytest.approx(mean, abs=1e-12)
    assert list(frame["mark"]) == ["", "", "best"]


def test_markdown_says_how_to_read_it_and_latex_uses_booktabs():
    tables = tables_of(clear_winner())
    assert "The encoder is frozen." in as_markdown(tables, "unremix")
    latex = as_latex(tables)
    assert r"\toprule" in latex and r"\bottomrule" in latex and r"top-1 \%" in latex
    assert re.search(r"\\textbf\{\d\d\.\d \$\\pm\$ \d\.\d\}", latex)
    assert latex_escape("a_b%c\\d") == r"a\_b\%c\textbackslash{}d"


def test_metrics_json_is_nested_as_dvc_reads_it():
    content = json.loads(metrics_json([row(seed=0, value=0.5), row(seed=1, value=0.7), row("unremix-exp")]))
    assert content == {"mnist5k": {"linear": {"simclr": 0.6}}}


def test_unreadable_rows_give_one_line_each_and_the_rest_is_shown(tmp_path):
    write(tmp_path, [row(seed=seed) for seed in THREE])
    folder = tmp_path / ROWS / "default/probe/unremix/mnist5k/simclr/linear"
    (folder / "7.json").write_text("{")
    old = json.loads((folder / "0.json").read_text()) | {"schema": 0}
    (folder / "8.json").write_text(json.dumps(old))
    (folder / "9.json").write_text((folder / "0.json").read_text())
    (folder / "10.json").write_bytes(b"\xff\xfe")
    loaded = rows_in(tmp_path)
    assert [stored.row.seed for stored in loaded.rows] == [0, 1, 2]
    assert len(loaded.problems) == 4
    assert all("\n" not in line and line.startswith(ROWS) for line in loaded.problems)
    assert any("row schema 0, this version reads 1" in line for line in loaded.problems)
    assert any("not a result row of this place" in line for line in loaded.problems)


def nested(depth: int) -> list:
    found: list = []
    for _ in range(depth):
        found = [found]
    return found


@pytest.mark.parametrize("text", ["[" * 100_000, '{"schema": ' + "1" * 5000 + "}"])
def test_json_that_python_refuses_is_one_line(text):
    path = f"{ROWS}/default/probe/unremix/mnist5k/simclr/linear/0.json"
    (line,) = parse_all({path: text.encode()}).problems
    assert line.startswith(f"{path}: not a result row: ")


def test_what_is_no_file_is_one_line_and_the_rest_is_shown(tmp_path):
    write(tmp_path, [row()])
    folder = tmp_path / ROWS / "default/probe/unremix/mnist5k/simclr/linear"
    (folder / "1.json").mkdir()
    (folder / "2.json").symlink_to(folder / "2.json")
    (folder / "3.json").symlink_to(folder)
    loaded = rows_in(tmp_path)
    assert len(loaded.rows) == 1
    assert loaded.problems == [
        f"{(folder / name).relative_to(tmp_path)}: not a result row: not a file"
        for name in ("1.json", "2.json", "3.json")
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"value": float("nan")}, "is no measurement"),
        ({"metric": "f1"}, "unknown metric 'f1'"),
        ({"correct": "AAAA", "value": 0.0}, "not one bit"),
        ({"correct": "%%", "value": 0.0}, "not one bit"),
        ({"value": 0.25}, "disagrees with its verdicts"),
        ({"seed": "zero"}, "seed"),
        ({"correct": None, "value": 1.7}, "value 1.7: a share must lie between 0 and 1"),
        ({"correct": None, "value": -0.1}, "value -0.1: a share must lie between 0 and 1"),
        ({"interval": [5, 1]}, "interval 5 to 1 does not hold the value"),
        ({"interval": [float("nan"), 1]}, "interval nan to 1"),
        ({"interval": [0.7, 0.9]}, "interval 0.7 to 0.9"),
        ({"schema": True}, "row schema True, this version reads 1"),
        ({"detail": 5}, "detail: Input should be a valid dictionary"),
        ({"detail": {"failed_checks": 5}}, "detail.failed_checks: Input should be a valid list"),
        ({"detail": {"failed_checks": [5]}}, "detail.failed_checks.0: Input should be a valid string"),
        ({"detail": {"draws": 7}}, "detail.draws: Input should be a valid list"),
        ({"detail": {"draws": []}}, "detail.draws: List should have at least 1 item"),
        ({"detail": {"draws": None}}, "detail.draws: Input should be a valid list"),
        ({"detail": {"more": "\ud800"}}, "surrogates not allowed"),
        ({"detail": {"more": nested(300)}}, "depth exceeded"),
    ],
)
def test_rows_that_contradict_themselves_are_refused(change, said):
    good = row(correct=verdicts(0.5)).model_dump(by_alias=True, mode="json")
    path = f"{ROWS}/default/probe/unremix/mnist5k/simclr/linear/0.json"
    assert parse_all({path: json.dumps(good).encode()}).problems == []
    loaded = parse_all({path: json.dumps(good | change).encode()})
    assert loaded.rows == [] and len(loaded.problems) == 1
    assert said in loaded.problems[0]


def test_two_rows_of_one_measurement_are_told():
    item = json.dumps(row().model_dump(by_alias=True)).encode()
    paths = [f"{ROWS}/default/{stage}/unremix/mnist5k/simclr/linear/0.json" for stage in ("probe", "other")]
    loaded = parse_all(dict.fromkeys(paths, item))
    assert len(loaded.rows) == 1 and "measures the same" in loaded.problems[0]


def test_documents_are_rendered_between_their_markers(tmp_path):
    write(tmp_path, [*clear_winner(), row(protocol="knn")])
    readme = tmp_path / "README.md"
    readme.write_text("Before.\n<!-- table: default/unremix/mnist5k lin* -->\nSTALE\n<!-- end -->\nAfter.\n")
    loaded = rows_in(tmp_path)
    text = with_tables(readme, loaded, tmp_path)
    assert text.startswith("Before.\n<!-- table:") and text.endswith("<!-- end -->\nAfter.\n")
    assert "STALE" not in text and "`unremix`" in text and "knn" not in text
    readme.write_text(text)
    assert with_tables(readme, loaded, tmp_path) == text
    assert rendered_files(loaded, [], tmp_path) == {"README.md": text}
    readme.write_text("<!-- table: default -->\n<!-- end -->\n")
    with pytest.raises(UserError, match="must be PRESET/TRACK"):
        with_tables(readme, loaded, tmp_path)


def test_the_command_writes_every_format_and_is_idempotent(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, [*clear_winner(), row("unremix-softmix", 0, correct=verdicts(0.8))])
    result = CliRunner().invoke(app, ["tables"])
    assert result.exit_code == 0, result.output
    names = [f"{stem}.{kind}" for stem in ("unremix", "unremix-ablation") for kind in ("csv", "md", "tex")]
    for name in names:
        assert (tmp_path / "results/tables/default" / name).is_file()
    assert (tmp_path / "results/metrics/default/unremix.json").is_file()
    assert CliRunner().invoke(app, ["tables"]).output == ""
