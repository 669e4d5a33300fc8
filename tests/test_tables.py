import io
import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from reporting_rows import loaded, path_of, protocol_of, row, verdicts, write
from typer.testing import CliRunner

from contrastbench.cli import app
from contrastbench.errors import UserError
from contrastbench.pipeline.stages import GROUPS, group_of
from contrastbench.reporting.cells import cells_of, key_of, method_order
from contrastbench.reporting.render import as_csv, as_latex, as_markdown, latex_escape, markdown_grid
from contrastbench.reporting.rendered import metrics_json, rendered_files, with_tables
from contrastbench.reporting.robustness_figures import attack_heatmap
from contrastbench.reporting.tables import BEST, TIED, ablation_tables, tables_of
from contrastbench.results.load import parse_all, rows_in
from contrastbench.results.rows import Row, rows_text

THREE = (0, 1, 2)
VALUE = r"\d\d\.\d \[\d\d\.\d, \d\d\.\d\]"


def clear_winner() -> list:
    rates = {"pixels": 0.5, "simclr": 0.7, "unremix": 0.9}
    return [row(method, seed, correct=verdicts(rate, seed=seed)) for method, rate in rates.items() for seed in THREE]


def test_a_cell_has_the_mean_and_the_sample_deviation_of_its_seeds():
    values = [0.9, 0.92, 0.97]
    (cell,) = cells_of(loaded([row(seed=seed, value=value) for seed, value in enumerate(values)])).values()
    assert cell.mean == pytest.approx(np.mean(values))
    assert cell.sd == pytest.approx(np.std(values, ddof=1))
    assert (cell.seeds, cell.n) == (3, "500")
    assert cells_of(loaded([row()])).popitem()[1].sd is None


def test_methods_come_in_registry_order_and_variants_after_their_base():
    shuffled = ["mae-ct-short", "unremix-softmix", "simclr", "no-such", "mae-ct", "pixels", "unremix", "mae"]
    expected = ["pixels", "simclr", "unremix", "unremix-softmix", "mae", "mae-ct", "mae-ct-short", "no-such"]
    keys = [key_of(row(method)) for method in shuffled]
    assert [key.method for key in sorted(keys, key=method_order)] == expected


def test_a_variant_follows_the_method_that_it_varies_whatever_its_label():
    """The label of `uamix-cutmix` does not begin with the name of its method, uamix-mae."""
    rows = [row("uamix-cutmix", base="uamix-mae"), row("uamix-mae"), row("mae")]
    assert [table.methods for table in tables_of(loaded(rows))] == [("mae", "uamix-mae")]
    (table,) = ablation_tables(loaded(rows))
    assert table.methods == ("uamix-mae", "uamix-cutmix")


def test_protocols_are_ordered_by_number_and_split_into_families():
    protocols = ["low-label-20", "low-label-5", "linear", "pgd-20-linf@0.1", "cw-l2"]
    tables = tables_of(loaded([row(protocol=name) for name in protocols]))
    assert [[column.protocol.name for column in table.columns] for table in tables] == [
        ["linear", "low-label-5", "low-label-20"],
        ["pgd-20-linf@0.1"],
        ["cw-l2"],
    ]


@pytest.mark.parametrize(
    ("protocol", "title"),
    [
        ("clean", "Robust accuracy in l_inf"),
        ("worst-case-linf@0.03137", "Robust accuracy in l_inf"),
        ("worst-case-l2@1", "Attacks bounded in l2"),
        ("autoattack-linf@0.1", "Checks on few images"),
        ("square@0.1", "Checks on few images"),
        ("alf-autoattack-linf@0.1", "Checks on few images, ALF"),
        ("pgd-40-linf@0.1", "PGD and APGD in l_inf"),
        ("apgd-linf@0.1", "PGD and APGD in l_inf"),
        ("foolbox-pgd-20-linf@0.1", "Checks on few images"),
        ("foolbox-pgd-20-l1@12", "Attacks bounded in l1"),
        ("fgsm@0.1", "Other attacks in l_inf"),
        ("aff-pgd-20-linf@0.1", "Adversarial full fine-tuning (AFF)"),
        ("alf-clean", "Adversarial linear head (ALF)"),
        ("apgd-l1@12", "Attacks bounded in l1"),
        ("pgd-20-l2@0.5", "Attacks bounded in l2"),
        ("hopskipjump-l2", "Smallest perturbation that fools"),
        ("transfer-from-simclr@0.1", "Transfer of attacks"),
        ("few-shot-5-way-1-shot-cl2n", "Few-shot episodes"),
        ("low-shot-8", "Low-shot regression"),
        ("audio-pgd-20-spectrogram@0.05", "Attacks on sound"),
        ("audio-noise-waveform@40dB", "Attacks on sound"),
    ],
)
def test_protocols_are_told_apart(protocol, title):
    assert group_of(protocol_of(protocol)).title == title
    assert sum(group.holds(protocol_of(protocol)) for group in GROUPS) == 1


def test_the_best_is_bold_only_when_significantly_best():
    (table,) = tables_of(loaded(clear_winner()))
    (column,) = table.columns
    assert table.marks == {("unremix", column): BEST}
    assert re.search(rf"\| `unremix` \| \*\*{VALUE}\*\* \|", markdown_grid(table))


def test_methods_that_tie_for_the_best_are_all_marked():
    close = [row("hcl", seed, correct=verdicts(0.902, seed=seed + 10)) for seed in THREE]
    (table,) = tables_of(loaded(clear_winner() + close))
    (column,) = table.columns
    assert table.marks == {("unremix", column): TIED, ("hcl", column): TIED}
    assert "**" not in markdown_grid(table)


def test_checks_that_failed_alike_are_told_once():
    lines = {0: "PGD has not converged: 64.8% survive it", 1: "PGD has not converged: 3.2% survive it"}
    broken = [row("hcl", seed, correct=verdicts(0.97, seed=seed), failed_checks=[lines[seed]]) for seed in lines]
    other = row("dcl", 0, correct=verdicts(0.9, seed=0), failed_checks=["gradients masked"])
    (table,) = tables_of(loaded([*broken, other]))
    told = table.failures()
    assert told == {
        "gradients masked": ["dcl linear"],
        "PGD has not converged: 64.8% survive it (for example)": ["hcl linear"],
    }


def test_a_column_whose_every_cell_failed_a_check_has_no_marks():
    broken = [row("hcl", seed, correct=verdicts(0.97, seed=seed), failed_checks=["gradients masked"]) for seed in THREE]
    (table,) = tables_of(loaded(broken))
    assert table.marks == {}


def test_a_failed_check_is_marked_and_told_and_takes_no_part():
    broken = [row("hcl", seed, correct=verdicts(0.97, seed=seed), failed_checks=["gradients masked"]) for seed in THREE]
    (table,) = tables_of(loaded(clear_winner() + broken))
    (column,) = table.columns
    assert table.marks == {("unremix", column): BEST}
    text = markdown_grid(table)
    assert re.search(rf"\| `hcl` \| {VALUE} ⚠ \|", text)
    assert "⚠ gradients masked: hcl linear" in text


def test_ablation_is_a_table_of_its_own_with_the_base_method():
    variants = [row("unremix-softmix", seed, correct=verdicts(0.8, seed=seed)) for seed in THREE]
    other = [row("unremix", seed, protocol="knn") for seed in THREE]
    rows = clear_winner() + variants + other
    assert "unremix-softmix" not in {method for table in tables_of(loaded(rows)) for method in table.methods}
    (table,) = ablation_tables(loaded(rows))
    assert table.methods == ("unremix", "unremix-softmix")
    assert [column.protocol.name for column in table.columns] == ["linear"]
    assert ablation_tables(loaded(clear_winner()), also=["simclr"]) == []
    (wider,) = ablation_tables(loaded(rows), also=["simclr"])
    assert wider.methods == ("simclr", "unremix", "unremix-softmix")


def test_what_a_table_does_not_show_is_not_pooled_into_its_intervals_and_marks():
    """The rows of one track hold those of every target, and a restless variant has nothing to say of another table."""
    calm = clear_winner()
    wild = [
        row("unremix-softmix", seed, correct=verdicts(rate)) for seed, rate in zip(THREE, (0.1, 0.5, 0.9), strict=True)
    ]
    (alone,), (beside,) = tables_of(loaded(calm)), tables_of(loaded(calm + wild))
    assert beside == alone
    (column,) = alone.columns
    (with_it,) = tables_of(loaded(calm + wild), also=["unremix-softmix"])
    assert with_it.methods == (*alone.methods, "unremix-softmix")
    (low, high), (wider_low, wider_high) = (t.cells["unremix", column].interval for t in (alone, with_it))
    assert wider_low < low < high < wider_high and with_it.marks != alone.marks
    base = [item for item in calm if item.method == "unremix"]
    (varied,) = ablation_tables(loaded(calm + wild))
    assert varied.cells == ablation_tables(loaded(base + wild))[0].cells


@pytest.mark.parametrize("other", ["random", "log-mel"])
def test_reference_rows_inflate_no_variance_and_use_up_nothing_of_holms_correction(other):
    rng = np.random.default_rng(0)
    methods = [
        row(name, seed, rate + rng.normal(0, 0.004))
        for name, rate in (("simclr", 0.7), ("dcl", 0.702), ("hcl", 0.73))
        for seed in THREE
    ]
    references = [row("pixels", seed, 0.6) for seed in THREE] + [row(other, s, 0.2 + 0.05 * s) for s in THREE]
    (alone,), (beside,) = tables_of(loaded(methods)), tables_of(loaded(methods + references))
    (column,) = alone.columns
    for name in alone.methods:
        assert beside.cells[name, column].interval == alone.cells[name, column].interval
        assert beside.marks.get((name, column)) == alone.marks.get((name, column))
    assert alone.marks == {("hcl", column): BEST}
    assert [each for each in beside.differences if {each.first, each.second} <= set(alone.methods)] == list(
        alone.differences
    )
    pairs = [each for each in beside.differences if {each.first, each.second} & {"pixels", other}]
    assert len(pairs) == 7, "each reference row with each method, and with the other"
    pixels_best = methods + [row("pixels", seed, 0.9) for seed in THREE]
    assert tables_of(loaded(pixels_best))[0].marks == {("pixels", column): BEST}, "they are ranked all the same"


def test_every_two_methods_of_a_column_are_exported_with_their_test(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = clear_winner()
    write(tmp_path, rows)
    result = CliRunner().invoke(app, ["export", "--format", "differences"])
    frame = pd.read_csv(io.StringIO(result.stdout))
    assert list(zip(frame["first"], frame["second"], strict=True)) == [
        ("simclr", "unremix"),
        ("pixels", "simclr"),
        ("pixels", "unremix"),
    ]
    (table,) = tables_of(loaded(rows))
    for line, each in zip(frame.itertuples(), table.differences, strict=True):
        left, right = (table.cells[name, each.column] for name in (each.first, each.second))
        assert line.difference == pytest.approx(left.mean - right.mean) and line.low < line.difference < line.high
        assert line.p_value == pytest.approx(each.paired.p_value) and line.p_holm == pytest.approx(each.adjusted)
    assert frame["p_holm"][0] == pytest.approx(frame["p_value"][0]), "the one pair of methods"
    assert set(frame["protocol"]) == {"linear"} and set(frame["test"]) == {"seeds x examples"}
    assert table.only(["knn"]).differences == ()


def test_checks_on_few_images_are_in_no_map_of_attacks():
    names = ("clean", "pgd-20-linf@0.1", "fgsm@0.1", "square@0.1", "autoattack-linf@0.1", "foolbox-pgd-20-linf@0.1")
    rows = [row("swaro", protocol=name, track="swaro", stage="attack") for name in names]
    (chart,) = attack_heatmap(cells_of(loaded(rows)))
    assert set(chart.figure.data[0].y) == {"clean", "pgd-20-linf@0.1", "fgsm@0.1"}


def test_a_heading_counts_test_examples_and_not_the_draws_that_judged_them():
    drawn = [
        row(seed=seed, correct=np.tile(verdicts(0.5, n=250), 3), protocol="low-label-5", draws=[0.5, 0.5, 0.5])
        for seed in THREE
    ]
    (table,) = tables_of(loaded([*drawn, *(row("hcl", seed, protocol="low-label-5", n=250) for seed in THREE)]))
    assert "top-1 %, n = 250 |" in markdown_grid(table) and "(n =" not in markdown_grid(table)


def test_the_ablation_shows_no_worst_case_as_methods_are_attacked_with_more():
    columns = [("clean", "top1"), ("apgd-linf@0.1", "robust-top1"), ("worst-case-linf@0.1", "robust-top1")]
    rows = [
        row(method, protocol=name, metric=metric, track="swaro", stage="attack")
        for method in ("swaro", "swaro-add")
        for name, metric in columns
    ]
    shown = {column.protocol.name for table in ablation_tables(loaded(rows)) for column in table.columns}
    assert shown == {"clean", "apgd-linf@0.1"}


def test_csv_keeps_full_precision_and_every_cell():
    rows = clear_winner()
    frame = pd.read_csv(io.StringIO(as_csv(tables_of(loaded(rows)))), keep_default_na=False)
    assert list(frame["method"]) == ["pixels", "simclr", "unremix"]
    mean = np.mean([item.value for item in rows if item.method == "simclr"])
    assert frame["mean"][1] == pytest.approx(mean, abs=1e-12)
    assert list(frame["mark"]) == ["", "", "best"]
    cells = cells_of(loaded(rows)).values()
    assert [(low, high) for low, high in zip(frame["low"], frame["high"], strict=True)] == [
        pytest.approx(cell.interval) for cell in cells
    ]
    assert list(frame["sd"]) == [pytest.approx(cell.sd) for cell in cells]


def test_nothing_of_sixteen_images_prints_no_certainty():
    rows = [row(seed=seed, correct=np.zeros(16)) for seed in THREE] + [
        row("dcl", seed, value=0.3, n=16) for seed in THREE
    ]
    text = markdown_grid(tables_of(loaded(rows))[0])
    assert "| `simclr` | 0.0 [0.0, 19.4] ≈ |" in text and "±" not in text
    assert "| `dcl` | 30.0 ≈ |" in text, "nothing tells how uncertain it is"


def test_no_column_mixes_numbers_of_examples_under_one_name():
    """One method on 16 images beside methods on 500: it says so, and no mark rests on the comparison."""
    few = [row("hcl", seed, correct=np.ones(16)) for seed in THREE]
    mixed = [row("dcl", seed, correct=verdicts(0.95, n=500 - 100 * seed)) for seed in THREE]
    (table,) = tables_of(loaded([*clear_winner(), *few, *mixed]))
    (column,) = table.columns
    assert table.n(column) == "500" and table.marks == {("unremix", column): BEST}
    text = as_markdown([table])
    assert re.search(r"\| `hcl` \| 100\.0 \[\d\d\.\d, 100\.0\] \(n = 16\) \|", text)
    assert re.search(rf"\| `dcl` \| {VALUE} \(n = 300-500\) \|", text)
    assert "another number of examples" in text and "top-1 %, n = 500 |" in text
    assert "(n = 16)" in as_latex([table], "")
    assert "another number" not in as_markdown(tables_of(loaded(clear_winner())))


def test_markdown_says_how_to_read_it_and_latex_uses_booktabs():
    tables = tables_of(loaded(clear_winner()))
    assert "The encoder is frozen." in as_markdown(tables, "unremix")
    latex = as_latex(tables, "default-unremix")
    assert r"\label{tab:default-unremix-mnist5k-frozen-features}" in latex
    assert r"\toprule" in latex and r"\bottomrule" in latex and r"top-1 \%" in latex
    assert re.search(rf"\\textbf\{{{VALUE}\}}", latex)
    assert latex_escape("a_b%c\\d") == r"a\_b\%c\textbackslash{}d"


def test_what_does_not_fit_a_page_is_several_tables_in_latex():
    names = ["knn", *(f"low-label-{shots}" for shots in (5, 10, 20, 50))]
    (table,) = tables_of(loaded([row(method, protocol=name) for method in ("simclr", "dcl") for name in names]))
    latex = as_latex([table], "default-unremix")
    assert latex_problems(latex) == [] and r"\extrafloats{2}" in latex
    assert re.findall(r"\\begin\{tabular\}\{(\w+)\}", latex) == ["lrrr", "lrr"]
    assert r"\label{tab:default-unremix-mnist5k-frozen-features-2}" in latex
    assert r"Part 2 of 2 of table~\ref{tab:default-unremix-mnist5k-frozen-features}." in latex
    variants = replace(table, changes={"dcl": f"temperature 0.{'1' * 44}, [2, 3], " + "epochs 7, " * 9})
    changed = as_latex([variants], "x")
    assert latex_problems(changed) == [] and re.findall(r"\\begin\{tabular\}\{(\w+)\}", changed) == [
        "llrr",
        "llrr",
        "llr",
    ]


def latex_problems(text: str) -> list[str]:
    """What LaTeX would refuse: groups and environments that do not match, labels given twice, rows of other lengths."""
    body = re.sub(r"(?<!\\)%.*", "", text)
    problems, opened = [], []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", body):
        if kind == "begin":
            opened.append(name)
        elif not opened or opened.pop() != name:
            problems.append(f"end of {name}")
    bare = re.sub(r"\\\\|\\[{}]", "", body)
    problems += opened + ["braces"] * (bare.count("{") != bare.count("}"))
    labels = re.findall(r"\\label\{([^}]*)\}", body)
    problems += [label for label in labels if labels.count(label) > 1]
    problems += [label for label in re.findall(r"\\ref\{([^}]*)\}", body) if label not in labels]
    problems += re.findall(r"\\\\\s*[\[*].*", body)  # an option of the end of a line, which no text was meant as
    problems += re.findall(r".*[^\x00-\x7f].*|.*(?<!\\)[_#^].*", re.sub(r"\\(label|ref)\{[^}]*\}|\[1\]|#1", "", body))
    for alignment, rows in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\bottomrule", body, re.DOTALL):
        flat = re.sub(r"\\begin\{tabular\}\[b\].*?\\end\{tabular\}", "", rows)
        lines = [line for line in flat.splitlines() if line.endswith(r"\\")]
        problems += [line for line in lines if len(re.findall(r"(?<!\\)&", line)) != len(alignment) - 1]
    return problems


@pytest.mark.parametrize("wrong", [r"\begin{table}", "{", r"\label{tab:a}", r"a \\ [2", "a_b", r"\ref{tab:z}", "±"])
def test_a_problem_of_latex_would_be_found(wrong):
    assert latex_problems(r"\label{tab:a}" + "\n" + wrong) != []


def test_committed_latex_has_no_problem(repository):
    files = sorted((repository / "results/tables").glob("*/*.tex"))
    assert len(files) > 20
    assert {file.name: found for file in files if (found := latex_problems(file.read_text(encoding="utf-8")))} == {}


def test_metrics_json_is_nested_as_dvc_reads_it():
    rows = [row(seed=0, value=0.5), row(seed=1, value=0.7), row("unremix-exp")]
    content = json.loads(metrics_json(tables_of(loaded(rows))))
    assert content == {"mnist5k": {"linear": {"simclr": 0.6}}}


def lines_of(rows: list[Row]) -> list[str]:
    return rows_text(rows).splitlines()


def test_unreadable_rows_give_one_line_each_and_the_rest_is_shown(tmp_path):
    file = tmp_path / path_of(row()).with_name("all.jsonl")
    file.parent.mkdir(parents=True)
    good = lines_of([row(seed=seed) for seed in THREE])
    old, elsewhere = good[0].replace('"schema":2', '"schema":0'), lines_of([row("hcl")])[0]
    lines = [good[0], "{", old, good[1], elsewhere, good[0], "", good[2]]
    file.write_bytes("\n".join(lines).encode() + b"\n\xff\xfe\n")
    found = rows_in(tmp_path)
    assert [item.seed for item in found.rows] == [0, 1, 2]
    assert len(found.problems) == 5
    name = file.relative_to(tmp_path).as_posix()
    assert [line.partition(": ")[0] for line in found.problems] == [f"{name}:{number}" for number in (2, 3, 5, 6, 9)]
    assert "row schema 0, this version reads 2" in found.problems[1]
    assert "not a row of this file: it says default probe unremix mnist5k hcl seed 0" in found.problems[2]
    assert f"measures the same as {name}:1; left out" in found.problems[3]
    assert "not UTF-8 text" in found.problems[4]


def nested(depth: int) -> list:
    found: list = []
    for _ in range(depth):
        found = [found]
    return found


@pytest.mark.parametrize("text", ["[" * 100_000, '{"schema": ' + "1" * 5000 + "}"])
def test_json_that_python_refuses_is_one_line(text):
    path = path_of(row()).as_posix()
    (line,) = parse_all({path: text.encode()}).problems
    assert line.startswith(f"{path}:1: not a result row: ")


def test_what_is_no_file_is_one_line_and_the_rest_is_shown(tmp_path):
    write(tmp_path, [row()])
    folder = (tmp_path / path_of(row())).parent
    (folder / "1.jsonl").mkdir()
    (folder / "2.jsonl").symlink_to(folder / "2.jsonl")
    (folder / "3.jsonl").symlink_to(folder)
    found = rows_in(tmp_path)
    assert len(found.rows) == 1
    assert found.problems == [
        f"{(folder / name).relative_to(tmp_path)}: not result rows: not a file"
        for name in ("1.jsonl", "2.jsonl", "3.jsonl")
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"value": float("nan")}, "value: Input should be a finite number"),
        ({"value": 1e300, "metric": "median-distance", "correct": None}, "value: Input should be less than or equal"),
        ({"n": 0}, "n: Input should be greater than or equal to 1"),
        ({"n": 10**400}, "n: "),
        ({"seed": -1}, "seed: Input should be greater than or equal to 0"),
        ({"wall_s": 1e300}, "wall_s: Input should be less than or equal"),
        ({"metric": "f1"}, "unknown metric 'f1'"),
        ({"correct": "AAAA", "value": 0.0}, "not one bit"),
        ({"correct": "%%", "value": 0.0}, "not one bit"),
        ({"value": 0.25}, "disagrees with its verdicts"),
        ({"seed": "zero"}, "seed"),
        ({"correct": None, "value": 1.7}, "value 1.7: a share must lie between 0 and 1"),
        ({"correct": None, "value": -0.1}, "value: Input should be greater than or equal to 0"),
        ({"interval": [5, 1]}, "interval 5 to 1 does not hold the value"),
        ({"interval": [float("nan"), 1]}, "interval.0: Input should be a finite number"),
        ({"interval": [0.7, 0.9]}, "interval 0.7 to 0.9"),
        ({"schema": True}, "row schema True, this version reads 2"),
        ({"protocol": "linear"}, "protocol: Input should be an object"),
        ({"protocol": {"family": "guess"}}, "protocol: Value error, unknown protocol 'guess'"),
        ({"protocol": {"family": "low-label"}}, "'low-label' needs shots"),
        ({"protocol": {"family": "low-label", "shots": 10**400}}, "protocol.shots: "),
        ({"protocol": {"family": "fgsm", "eps": -1.0}}, "protocol.eps: Input should be greater than or equal to 0"),
        ({"detail": 5}, "detail: Input should be an object"),
        ({"detail": {"failed_checks": 5}}, "detail.failed_checks: Input should be a valid list"),
        ({"detail": {"failed_checks": [5]}}, "detail.failed_checks.0: Input should be a valid string"),
        ({"detail": {"draws": 7}}, "detail.draws: Input should be a valid list"),
        ({"detail": {"more": [float("inf")]}}, "not a result row: Out of range float values"),
        ({"detail": {"drawn_from": 499}}, "500 examples, drawn_from only 499"),
        ({"detail": {"drawn_from": 0}}, "detail.drawn_from: Input should be greater than or equal to 1"),
        ({"detail": {"drawn_from": "all"}}, "detail.drawn_from: Input should be a valid integer"),
        ({"detail": {"drawn_from": None}}, "detail.drawn_from: Input should be a valid integer"),
        ({"detail": {"drawn_from": 10**9}}, "detail.drawn_from: Input should be less than or equal to 10000000"),
        ({"detail": {"draws": []}}, "detail.draws: List should have at least 1 item"),
        ({"detail": {"draws": None}}, "detail.draws: Input should be a valid list"),
        ({"detail": {"more": "\ud800"}}, "not a result row: Invalid JSON: "),
        ({"detail": {"more": nested(300)}}, "recursion limit"),
    ],
)
def test_rows_that_contradict_themselves_are_refused(change, said):
    good = json.loads(lines_of([row(correct=verdicts(0.5))])[0])
    path = path_of(row()).as_posix()
    assert parse_all({path: json.dumps(good).encode()}).problems == []
    found = parse_all({path: json.dumps(good | change).encode()})
    assert found.rows == [] and len(found.problems) == 1
    assert said in found.problems[0]


def test_two_rows_of_one_measurement_are_told():
    seeds = [path_of(row()).with_name(name).as_posix() for name in ("0.jsonl", "all.jsonl")]
    found = parse_all(dict.fromkeys(seeds, rows_text([row()]).encode()))
    assert len(found.rows) == 1 and "measures the same" in found.problems[0]


def test_documents_are_rendered_between_their_markers(tmp_path):
    write(tmp_path, [*clear_winner(), row(protocol="knn")])
    readme = tmp_path / "README.md"
    readme.write_text("Before.\n<!-- table: default/unremix/mnist5k lin* -->\nSTALE\n<!-- end -->\nAfter.\n")
    found = rows_in(tmp_path)
    text = with_tables(readme, found, tmp_path)
    assert text.startswith("Before.\n<!-- table:") and text.endswith("<!-- end -->\nAfter.\n")
    assert "STALE" not in text and "`unremix`" in text and "knn" not in text
    readme.write_text(text)
    assert with_tables(readme, found, tmp_path) == text
    assert rendered_files(found, [], tmp_path) == {"README.md": text}
    readme.write_text("<!-- table: default -->\n<!-- end -->\n")
    with pytest.raises(UserError, match="must be PRESET/TRACK"):
        with_tables(readme, found, tmp_path)


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
