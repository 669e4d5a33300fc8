import math
import shutil

import pytest
from conftest import REPOSITORY
from reporting_rows import loaded, row

from contrastbench.errors import UserError
from contrastbench.evaluation.suite import AttackSpec
from contrastbench.params.base import overlay, read_yaml
from contrastbench.params.root import from_content
from contrastbench.registry import DATASETS, METHODS
from contrastbench.reporting.cells import Cell, cells_of
from contrastbench.reporting.published import (
    HEADING,
    READING,
    WITHOUT_NUMBERS,
    Standing,
    at_published_setting,
    beside,
    beside_markdown,
    published,
    published_for,
)
from contrastbench.reporting.render import as_csv, as_markdown
from contrastbench.reporting.rendered import with_tables
from contrastbench.reporting.tables import tables_of
from contrastbench.results.protocols import Protocol
from contrastbench.results.rows import Row

GRAPHCL, INFOGRAPH = (86.80, 1.34), (89.01, 1.13)  # published on MUTAG


def in_folds(method: str, *percent: float, **fields) -> list[Row]:
    """Rows of the published protocol on graphs, one for each seed."""
    place = {"protocol": "fold-svm", "dataset": "mutag", "track": "graphs", "stage": "cross_validate"} | fields
    return [row(method, seed, value / 100, **place) for seed, value in enumerate(percent)]


def cells(*rows: Row) -> list[Cell]:
    return list(cells_of(loaded(list(rows))).values())


def test_every_number_names_a_known_baseline_its_setting_and_its_source():
    for number in published():
        assert number.method in METHODS and number.method not in WITHOUT_NUMBERS
        assert number.dataset in DATASETS
        assert 0 < number.value < 100 and number.setting and number.source


def test_protocols_are_spelled_as_rows_spell_them():
    names = {number.protocol for number in published() if number.spread is None}
    assert names - {"linear", "knn", "clean"} == {AttackSpec("pgd", "linf", 8 / 255, 1, 20).name}
    assert {number.protocol for number in published() if number.spread} == {Protocol(family="fold-svm").name}


def test_one_number_stands_beside_each_measured_cell():
    places = [(each.dataset, each.protocol, each.method) for each in published() if each.spread is not None]
    assert len(set(places)) == len(places)
    assert {("mutag", *GRAPHCL), ("mutag", *INFOGRAPH)} <= {
        (each.dataset, each.value, each.spread) for each in published()
    }


def test_the_column_is_there_only_where_a_number_fits():
    (fitting,) = tables_of(loaded([row("simclr", dataset="cifar10"), row("unremix", dataset="cifar10")]))
    assert [number.value for number in published_for(fitting)["simclr"]] == [91.12, 90.74]
    lines = as_markdown([fitting]).splitlines()
    header = next(line for line in lines if line.startswith("| method"))
    assert header.endswith(f"| {HEADING} |")
    assert "linear 91.1 (ResNet-50, batch 256; liubin06/BCL README)" in next(x for x in lines if "`simclr`" in x)
    assert next(line for line in lines if "`unremix`" in line).endswith("|  |")
    (other,) = tables_of(loaded([row("simclr"), row("unremix")]))
    assert published_for(other) == {} and HEADING not in as_markdown([other])
    assert "91.1" not in as_csv([fitting])


@pytest.mark.parametrize("method", WITHOUT_NUMBERS)
def test_the_systems_of_this_suite_have_no_published_number(method, monkeypatch, tmp_path):
    (tmp_path / "published.csv").write_text(
        f"dataset,protocol,method,value,spread,setting,source\ncifar10,linear,{method},90,,x,y\n"
    )
    monkeypatch.setattr("contrastbench.reporting.published.files", lambda _: tmp_path)
    with pytest.raises(ValueError, match="has no published number"):
        published.__wrapped__()


@pytest.mark.parametrize(
    ("units", "standing"),
    [
        (0.0, Standing.MET),
        (0.99, Standing.MET),
        (-0.99, Standing.MET),
        (1.01, Standing.ABOVE),
        (-1.01, Standing.BELOW),
    ],
)
@pytest.mark.parametrize("spread", [0.0, 2.0])
def test_a_published_number_is_met_within_one_unit_of_both_spreads(units, standing, spread):
    value, published_spread = GRAPHCL
    mean = value + units * math.hypot(published_spread, spread)
    (found,) = beside(cells(*in_folds("graphcl", mean - spread, mean, mean + spread)))
    assert found.standing is standing
    assert found.units == pytest.approx(units, abs=1e-9) and found.difference == pytest.approx(mean - value, abs=1e-9)


def test_of_one_seed_the_published_spread_alone_counts():
    (found,) = beside(cells(*in_folds("graphcl", GRAPHCL[0] - 1.02 * GRAPHCL[1])))
    assert found.units == pytest.approx(-1.02) and found.standing is Standing.BELOW
    assert "| 85.4 (1 seeds) |" in beside_markdown([found])


def test_only_what_was_measured_at_the_published_setting_stands_beside_it():
    """In the order of the file; numbers of other settings never, whatever was measured."""
    measured = cells(
        *in_folds("random", 84.0, 85.0),
        *in_folds("infograph", 88.0, 90.0),
        *in_folds("graphcl-unremix", 90.0, 91.0),
        *in_folds("graphcl", 85.0, 87.0),
        *in_folds("graphcl", 80.0, 80.0, protocol="fold-linear"),
        *in_folds("graphcl", 60.0, 61.0, dataset="ptc-mr"),
        row("simclr", 0, 0.9, dataset="cifar10"),
    )
    found = beside(measured)
    assert [each.published.method for each in found] == ["graphcl", "infograph"]
    assert [each.cell.mean for each in found] == pytest.approx([0.86, 0.89])
    lines = beside_markdown(found).splitlines()
    assert lines[2:4] == [
        "| mutag | `graphcl` | 86.8 ± 1.3 | 86.0 ± 1.4 (2 seeds) | -0.8 | -0.4 | met | 84.5 |",
        "| mutag | `infograph` | 89.0 ± 1.1 | 89.0 ± 1.4 (2 seeds) | -0.0 | -0.0 | met | 84.5 |",
    ]
    assert lines[0].endswith("| in spreads |  | `random` |")
    assert {line.count("|") for line in lines[:4]} == {9} and lines[-1] == READING


def test_a_cell_that_fails_a_check_is_not_called_met():
    failing = row("graphcl", 0, 0.87, dataset="mutag", protocol="fold-svm", failed_checks=["collapsed"])
    (found,) = beside(cells(failing))
    assert "| failed a sanity check |" in beside_markdown([found])


@pytest.mark.parametrize(
    "changes",
    [
        {"encoder": {"layers": 2}},
        {"training": {"graphcl": {"epochs": 19}}},
        {"training": {"infograph": {"learning_rate": 0.01}}},
        {"folds": {"inner": 3}},
        {"folds": {"strengths": [1.0]}},
    ],
)
def test_values_at_another_setting_are_held_against_nothing(changes):
    whole = read_yaml(REPOSITORY / "params.yaml")
    assert at_published_setting(from_content(whole, "x").track("graphs"))
    assert not at_published_setting(from_content(overlay(whole, {"graphs": changes}), "x").track("graphs"))
    assert not at_published_setting(from_content(whole, "x").track("unremix"))


def test_numbers_with_a_spread_are_not_of_another_setting():
    (table,) = tables_of(loaded([*in_folds("graphcl", 85.0, 87.0), *in_folds("random", 84.0, 85.0)]))
    assert published_for(table) == {} and HEADING not in as_markdown([table])
    assert "86.8" not in as_markdown([table])


def test_a_region_of_published_numbers_is_rendered_from_the_presets_that_it_names(tmp_path):
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    shutil.copytree(REPOSITORY / "presets", tmp_path / "presets")
    page = tmp_path / "README.md"
    page.write_text("Before.\n<!-- published: default/graphs graphs/graphs -->\nstale\n<!-- end -->\nAfter.\n")
    rows = [*in_folds("graphcl", 85.0, 87.0), *in_folds("infograph", 76.0, 77.0, dataset="nci1", preset="graphs")]
    rows += in_folds("infograph", 1.0, 2.0, preset="cifar")
    text = with_tables(page, loaded(rows), tmp_path)
    assert text.startswith("Before.\n<!-- published: default/graphs graphs/graphs -->\n\n| data | method |")
    assert text.endswith(f"\n{READING}\n\n<!-- end -->\nAfter.\n") and "stale" not in text
    assert "| mutag | `graphcl` | 86.8 ± 1.3 | 86.0 ± 1.4 (2 seeds) |" in text
    assert "| nci1 | `infograph` | 76.2 ± 1.1 | 76.5 ± 0.7 (2 seeds) |" in text
    assert "| mutag | `infograph` |" not in text, "of a preset that is not named"
    assert "\nNo rows yet for default/graphs graphs/graphs.\n" in with_tables(page, loaded([]), tmp_path)
    page.write_text("<!-- published: smoke/graphs -->\n<!-- end -->\n")
    with pytest.raises(UserError, match="'smoke/graphs': no track at the published setting"):
        with_tables(page, loaded(rows), tmp_path)
