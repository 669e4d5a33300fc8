import pytest
from reporting_rows import loaded, row

from contrastbench.evaluation.suite import AttackSpec
from contrastbench.registry import DATASETS, METHODS
from contrastbench.reporting.published import HEADING, WITHOUT_NUMBERS, published, published_for
from contrastbench.reporting.render import as_csv, as_markdown
from contrastbench.reporting.tables import tables_of


def test_every_number_names_a_known_baseline_its_setting_and_its_source():
    for number in published():
        assert number.method in METHODS and number.method not in WITHOUT_NUMBERS
        assert number.dataset in DATASETS
        assert 0 < number.value < 100 and number.setting and number.source


def test_protocols_are_spelled_as_rows_spell_them():
    names = {number.protocol for number in published()}
    assert names - {"linear", "knn", "clean"} == {AttackSpec("pgd", "linf", 8 / 255, 1, 20).name}


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
        f"dataset,protocol,method,value,setting,source\ncifar10,linear,{method},90,x,y\n"
    )
    monkeypatch.setattr("contrastbench.reporting.published.files", lambda _: tmp_path)
    with pytest.raises(ValueError, match="has no published number"):
        published.__wrapped__()
