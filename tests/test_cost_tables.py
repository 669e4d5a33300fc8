"""Tables and figures of robustness against the cost of training, on rows whose costs and accuracies are made up."""

import pytest
import yaml
from reporting_rows import asked, loaded, parameters, row, verdicts

from contrastbench.params.root import from_content
from contrastbench.pipeline.asked import NOT_ASKED, OTHER_PARAMETERS, Asked
from contrastbench.pipeline.grid import Grid
from contrastbench.reporting.check import not_best
from contrastbench.reporting.cost import cost_tables, line_of
from contrastbench.reporting.cost_figures import cost_lines
from contrastbench.reporting.rendered import target_tables
from contrastbench.reporting.search import best_rates, other_rates, search_tables
from contrastbench.reporting.tables import BEST
from contrastbench.results.protocols import Protocol

LENGTHS = {"rocl": (5, 15, 30), "swaro": (5, 7, 15, 23, 30, 46), "swaro-add": (5, 15), "swav": (5, 15, 30)}


def label_of(line, epochs):
    return line if epochs == 5 else f"{line}-{epochs}-epochs"


def content():
    """The repository's parameters, with these lengths in place of its own."""
    found = parameters(swaro__cost=[label_of(line, each) for line, lengths in LENGTHS.items() for each in lengths])
    known = found["swaro"]["variants"]
    for line, lengths in LENGTHS.items():
        base = known.get(line, {"method": line})
        known |= {label_of(line, each): base | {"training": {"epochs": each}} for each in lengths if each != 5}
    return found


PARAMS = from_content(content(), "test")
TRACK = PARAMS.track("swaro")
PASSES = {"rocl": 8.0, "swaro": 5.0, "swaro-add": 6.0, "swav": 2.0}  # an epoch
ROBUST = {"rocl": 0.4, "swaro": 0.35, "swaro-add": 0.3, "swav": 0.01}  # after 5 epochs; 15 points more after 15


def pgd(eps):
    return Protocol(family="pgd", head="slf", norm="linf", eps=eps, steps=20)


def apgd(eps):
    return Protocol(family="apgd", head="slf", norm="linf", eps=eps, steps=25)


def worst_case(eps):
    return Protocol(family="worst-case", head="slf", norm="linf", eps=eps)


def rows_of(line, epochs, *, attacked_by_all=True):
    label = label_of(line, epochs)
    rate = ROBUST[line] + 0.015 * (epochs - 5)
    found = []
    for seed in range(3):
        cost = {"image_passes": PASSES[line] * epochs * 1e5, "training_s": epochs + seed}

        def made(protocol, rate, metric="robust-top1", seed=seed, **detail):
            about = {"track": "swaro", "stage": "attack", "metric": metric, "base": TRACK.base_method(label)}
            found = row(label, seed, correct=verdicts(rate, seed=seed), **about, **detail)
            return found.model_copy(update={"protocol": protocol})

        found += [made(Protocol(family="clean", head="slf"), 0.9, "top1", **cost), made(pgd(0.1), rate + 0.05)]
        found += [made(pgd(0.2), 0.0), made(Protocol(family="linear"), 0.95, "top1")]
        found += [made(apgd(0.1), rate), made(apgd(0.2), 0.0)] if attacked_by_all else []
        found += [made(worst_case(0.1), 0.0)]
    return found


ROWS = [each for line, lengths in LENGTHS.items() for epochs in lengths for each in rows_of(line, epochs)]


def shown(table):
    """What a table shows of robust accuracy, by method and epochs."""
    column = table.columns[-1]
    return {method.partition(",")[0] + ")": table.cells[method, column].mean for method in table.methods}


def test_a_line_is_a_method_whatever_its_length():
    assert {line_of(label, TRACK) for label in TRACK.cost if label.startswith("swaro")} == {"swaro", "swaro-add"}
    assert line_of("swaro-add-15-epochs", TRACK) == "swaro-add" and line_of("swav-30-epochs", TRACK) == "swav"


SHIPPED = from_content(parameters(), "test").track("swaro")


def test_lines_of_the_shipped_target_are_methods_and_variants_whose_settings_they_share():
    """There even the shortest training of most methods is a variant, with a learning rate of its own."""
    lines = {label: line_of(label, SHIPPED) for label in SHIPPED.cost}
    assert set(lines.values()) == {"rocl", "swav", "acl", "swaro", "swaro-add", "supervised", "pgd-at", "trades"}
    assert all(label == line or label.startswith(f"{line}-") for label, line in lines.items())


def test_every_label_of_the_shipped_target_is_held_to_the_rate_that_was_best():
    trials = {
        "rocl": 0.003,
        "swaro": 0.003,
        "swaro-add": 0.003,
        "acl": 0.03,
    }  # the shipped ones have 0.03, swaro-add 0.01
    rows = [
        trial(method, rate, 0.8 if float(rate.replace("_", ".")) == best else 0.5)
        for method, best in trials.items()
        for rate in ("0_003", "0_01", "0_03")
    ]
    named = {line.partition(":")[0] for line in other_rates(loaded(rows), SHIPPED)}
    assert named == {label for label in SHIPPED.cost if label.startswith(("rocl-", "swaro-"))}


def test_methods_of_equal_epochs_stand_in_one_table():
    tables = {table.group.title: table for table in cost_tables(loaded(ROWS), TRACK)}
    equal = [title for title in tables if title.startswith("Equal epochs")]
    assert equal == ["Equal epochs: 5", "Equal epochs: 15", "Equal epochs: 30"]  # one method alone has 7, 23 and 46
    assert shown(tables["Equal epochs: 15"]) == {
        "rocl (15 epochs)": pytest.approx(0.55, abs=0.02),
        "swaro (15 epochs)": pytest.approx(0.5, abs=0.02),
        "swaro-add (15 epochs)": pytest.approx(0.45, abs=0.02),
        "swav (15 epochs)": pytest.approx(0.16, abs=0.02),
    }
    table = tables["Equal epochs: 15"]
    assert table.methods[0] == "swav (15 epochs, 3.00 M passes, 16 wall seconds)"
    assert [column.protocol.name for column in table.columns] == ["clean", apgd(0.1).name]
    assert table.marks["rocl (15 epochs, 12.00 M passes, 16 wall seconds)", table.columns[-1]] == BEST


def test_methods_of_equal_cost_are_the_longest_that_cost_no_more():
    tables = [table for table in cost_tables(loaded(ROWS), TRACK) if table.group.title.startswith("Equal cost")]
    assert [table.group.title for table in tables] == [
        f"Equal cost: at most {millions} million image passes" for millions in ("4.00", "12.00", "24.00")
    ]
    shares = [[method.rpartition(",")[0] for method in table.methods] for table in tables]
    assert shares == [
        [
            "swav (15 epochs, 75 % of the cost",
            "rocl (5 epochs, 100 % of the cost",
            "swaro (7 epochs, 88 % of the cost",
            "swaro-add (5 epochs, 75 % of the cost",
        ],
        [
            "rocl (15 epochs, 100 % of the cost",
            "swaro (23 epochs, 96 % of the cost",
            "swaro-add (15 epochs, 75 % of the cost",
        ],
        ["rocl (30 epochs, 100 % of the cost", "swaro (46 epochs, 96 % of the cost"],
    ]
    readings = [table.group.reading for table in tables]
    assert readings[0].startswith("What rocl costs in 5 epochs; ") and "Absent" not in readings[0]
    assert "uses 70 to 100 % of it: swav. A pass" in readings[1] and "of it: swaro-add, swav. A pass" in readings[2]


def test_lines_go_through_the_lengths_of_each_method():
    over_passes, over_seconds = cost_lines(loaded(ROWS), TRACK)
    assert over_passes.title.startswith(f"{apgd(0.1).name} on mnist5k")
    assert over_seconds.figure.layout.xaxis.title.text == "wall seconds of training"
    lines = {trace.name: trace for trace in over_passes.figure.data}
    assert set(lines) == set(LENGTHS)
    assert list(lines["swaro"].x) == [500_000 * epochs for epochs in LENGTHS["swaro"]]
    expected = [35 + 1.5 * (epochs - 5) for epochs in LENGTHS["swaro"]]
    assert list(lines["swaro"].y) == pytest.approx(expected, abs=2)
    assert over_passes.figure.layout.xaxis.type == "log"
    seconds = {trace.name: list(trace.x) for trace in over_seconds.figure.data}
    assert seconds["rocl"] == [epochs + 1 for epochs in LENGTHS["rocl"]]  # the mean over seeds


def test_without_apgd_pgd_is_the_headline_and_rows_without_a_cost_are_left_out():
    old = [each.model_copy(update={"detail": {}}) for each in rows_of("swav", 5)]
    found = cost_lines(loaded([*rows_of("rocl", 5, attacked_by_all=False), *old]), TRACK)
    assert found[0].title.startswith(pgd(0.1).name) and [trace.name for trace in found[0].figure.data] == ["rocl"]
    assert cost_lines(loaded(old), TRACK) == [] == cost_tables(loaded(old), TRACK)
    assert cost_lines(loaded(ROWS), PARAMS.track("unremix")) == []


@pytest.fixture
def folder(tmp_path):
    """A project folder with these parameters."""
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content()))
    return tmp_path


def test_the_ablation_shows_no_variant_of_the_cost_target_alone(folder):
    tables = target_tables(loaded(ROWS), "default", "swaro", "ablation", folder)
    assert {method for table in tables for method in table.methods} == {"swav", "swaro", "swaro-add"}


def test_rows_of_the_cost_targets_labels_count_and_no_others():
    found = asked([each for each in rows_of("rocl", 15) if each.protocol.family == "clean"], PARAMS)
    one = Asked(Grid(given=PARAMS), data=False)
    assert [one.why_not(each) for each in found] == [None, None, None]
    assert one.why_not(found[0].model_copy(update={"method": "rocl-16-epochs"})) == NOT_ASKED
    of_other_length = asked(rows_of("rocl", 30), PARAMS)[0].params_hash
    assert one.why_not(found[0].model_copy(update={"params_hash": of_other_length})) == OTHER_PARAMETERS


def trial(method, rate, accuracy):
    protocol = Protocol(family="validation-pgd", head="slf", norm="linf", eps=0.1, steps=20)
    about = {"track": "swaro", "stage": "validate", "metric": "robust-top1", "base": method}
    found = row(f"{method}-lr-{rate}", 10, correct=verdicts(accuracy, n=400), **about)
    return found.model_copy(update={"protocol": protocol})


def test_the_search_says_which_rate_was_best_and_who_is_trained_at_another(folder):
    rocl = [trial("rocl", "0_003", 0.5), trial("rocl", "0_01", 0.6), trial("rocl", "0_03", 0.8)]
    swav = [trial("swav", "0_003", 0.8), trial("swav", "0_01", 0.8), trial("swav", "0_03", 0.7)]
    unfinished = [trial("swaro", "0_03", 0.9)]
    found = loaded([*rocl, *swav, *unfinished])
    assert best_rates(found, TRACK) == {("mnist5k", "rocl"): 0.03, ("mnist5k", "swav"): 0.003}
    lines = other_rates(found, TRACK)
    assert lines[0] == "swav: learning rate 0.01; best on mnist5k was 0.003"
    assert [line.partition(":")[0] for line in lines] == [
        label for method in ("swav", "rocl") for label in TRACK.cost if label.partition("-")[0] == method
    ]
    assert not_best(loaded(swav), folder)[0] == f"swaro, preset default: {lines[0]}"
    tables = search_tables(found, TRACK)
    assert [table.group.title for table in tables] == [
        f"Learning rates of {name}" for name in ("swav", "rocl", "swaro")
    ]
    assert tables[1].methods == ("rocl-lr-0_003", "rocl-lr-0_01", "rocl-lr-0_03")
    assert tables[1].marks["rocl-lr-0_03", tables[1].columns[0]] == BEST
