"""Claims: every verdict on rows that are made up, what a claim may not say, and the sentences that state a verdict."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from reporting_rows import ROOT, asked, loaded, parameters, row, verdicts, write
from scipy import stats
from test_cost_tables import PARAMS, TRACK
from test_cost_tables import rows_of as trained
from typer.testing import CliRunner

from contrastbench.cli import app
from contrastbench.errors import UserError
from contrastbench.params.root import load
from contrastbench.reporting.check import wrong_sentences
from contrastbench.reporting.claims import Claim, Verdict, columns_of, judge, judged_claims, load_claims, without_rows
from contrastbench.reporting.claims_render import as_json, as_markdown, told
from contrastbench.reporting.rendered import with_tables
from contrastbench.reporting.report import build_report
from contrastbench.results.load import Loaded
from contrastbench.results.rows import Row

SMALLEST = 0.003  # standard deviation over seeds of a value


def claim(**changes: object) -> dict:
    return {
        "text": "UnReMix is better than SimCLR.",
        "source": "abstract",
        "presets": ["default"],
        "track": "unremix",
        "datasets": ["mnist5k"],
        "protocols": ["linear"],
        "left": ["unremix"],
        "right": ["simclr"],
        "relation": ">",
        "margin": 1,
    } | changes


def values(gain: float, spread: float = SMALLEST, method: str = "unremix", count: int = 3, **fields) -> list[Row]:
    """SimCLR at 0.8 in every seed, and a method above it by ``gain`` in the mean, with just this deviation."""
    noise = np.linspace(-1, 1, count)
    noise *= spread / noise.std(ddof=1)
    return [
        *(row("simclr", seed, 0.8, **fields) for seed in range(count)),
        *(row(method, seed, 0.8 + gain + noise[seed], **fields) for seed in range(count)),
    ]


def judged(rows: list[Row] | Loaded, **changes: object):
    """What ``rows`` say of one claim, by the repository's parameters."""
    found = rows if isinstance(rows, Loaded) else loaded(rows)
    (only,) = judged_claims({"it": Claim.model_validate(claim(**changes) | {}, strict=False)}, found, ROOT)
    return only


@pytest.mark.parametrize(
    ("relation", "gain", "verdict"),
    [
        (">", 0.03, Verdict.SUPPORTED),
        (">", -0.03, Verdict.CONTRADICTED),
        (">", 0.0005, Verdict.EQUIVALENT),
        (">", -0.0005, Verdict.EQUIVALENT),
        (">", 0.008, Verdict.UNDECIDED),
        (">= margin", 0.04, Verdict.SUPPORTED),
        (">= margin", 0.0005, Verdict.CONTRADICTED),
        (">= margin", -0.03, Verdict.CONTRADICTED),
        (">= margin", 0.012, Verdict.UNDECIDED),
        ("equivalent", 0.0005, Verdict.EQUIVALENT),
        ("equivalent", 0.04, Verdict.CONTRADICTED),
        ("equivalent", -0.04, Verdict.CONTRADICTED),
        ("equivalent", 0.008, Verdict.UNDECIDED),
    ],
)
def test_every_verdict(relation, gain, verdict):
    found = judged(values(gain, SMALLEST if verdict is not Verdict.UNDECIDED else 0.02), relation=relation)
    assert found.verdict is verdict
    (outcome,) = found.outcomes
    assert outcome.difference == pytest.approx(100 * gain)
    assert outcome.interval is not None and outcome.interval[0] < 100 * gain < outcome.interval[1]
    assert ("seeds" in outcome.why) == (verdict is Verdict.UNDECIDED)
    assert found.says_equal == ((relation, verdict) == ("equivalent", Verdict.EQUIVALENT))


def test_equivalence_is_where_the_90_percent_interval_lies_within_the_margin():
    rows = values(0.002, 0.003)
    half = 100 * stats.t.isf(0.05, 2) * 0.003 / 3**0.5
    for margin in np.array([0.98, 1.02]) * (0.2 + half):
        assert (judged(rows, margin=float(margin)).verdict is Verdict.EQUIVALENT) == (margin > 0.2 + half)


def test_the_interval_and_the_p_value_are_those_of_the_t_test():
    rows = values(0.01, 0.004)
    (outcome,) = judged(rows).outcomes
    expected = stats.ttest_rel([r.value for r in rows[3:]], [r.value for r in rows[:3]])
    assert outcome.p_value == pytest.approx(expected.pvalue)
    assert outcome.interval == pytest.approx([100 * end for end in expected.confidence_interval()])


def test_undecided_says_how_many_seeds_would_find_the_margin():
    (outcome,) = judged(values(0.008, 0.02), margin=2).outcomes
    needed = [n for n in range(2, 50) if (stats.t.isf(0.025, n - 1) + stats.t.isf(0.2, n - 1)) * 0.02 / n**0.5 <= 0.02]
    assert outcome.why == f"{needed[0]} seeds would be needed"
    twice = judged([*values(0.008, 0.02), *values(0.008, 0.02, protocol="knn")], margin=2, protocols=["linear", "knn"])
    stricter = [
        n for n in range(2, 50) if (stats.t.isf(0.0125, n - 1) + stats.t.isf(0.2, n - 1)) * 0.02 / n**0.5 <= 0.02
    ]
    assert [each.why for each in twice.outcomes] == [f"{stricter[0]} seeds would be needed"] * 2 != [outcome.why] * 2
    images = [
        row(m, s, correct=verdicts(0.6, 60, seed=s + 9 * i))
        for i, m in enumerate(("simclr", "unremix"))
        for s in (0, 1)
    ]
    (outcome,) = judged(images, margin=0.1).outcomes
    assert outcome.why == "1000 seeds would not do: more test examples are needed"


@pytest.mark.parametrize(
    ("relation", "gain", "distance"),
    [(">", 0.0097, 0.0103), (">", 0.0115, 0.0115), (">= margin", 0.026, 0.006), ("equivalent", 0.015, 0.005)],
)
def test_where_there_are_seeds_enough_for_the_margin_more_than_those_are_needed(relation, gain, distance):
    """The difference is a smaller one, or near the margin."""
    spread = 0.02 if relation == ">" else 0.012
    (outcome,) = judged(values(gain, spread, count=12), relation=relation, margin=2).outcomes
    assert outcome.verdict is Verdict.UNDECIDED

    def needed(effect):
        margins = ((stats.t.isf(0.025, n - 1) + stats.t.isf(0.2, n - 1)) * spread / n**0.5 for n in range(2, 500))
        return next(n for n, both in enumerate(margins, 2) if both <= effect)

    assert needed(0.02) <= 12 < needed(distance)
    assert outcome.why == f"{needed(distance)} seeds would be needed"


def test_no_margin_is_too_small_for_the_level_of_an_equivalence():
    """Both tails count where the truth lies at the margin: as it goes to 0, the test is the two-sided one."""
    rows = values(0.01, 0.004)
    beyond = stats.ttest_rel([r.value for r in rows[3:]], [r.value for r in rows[:3]]).pvalue
    (outcome,) = judged(rows, relation="equivalent", margin=1e-6).outcomes
    assert outcome.p_value == pytest.approx(beyond)
    (outcome,) = judged(rows, relation="equivalent", margin=0.2).outcomes
    error = 0.004 / 3**0.5
    assert outcome.p_value == pytest.approx(stats.t.sf(0.008 / error, 2) + stats.t.sf(0.012 / error, 2))


def test_one_seed_decides_nothing():
    rows = [row(m, correct=verdicts(rate)) for m, rate in (("simclr", 0.3), ("unremix", 0.9))]
    (outcome,) = judged(rows).outcomes
    assert outcome.verdict is Verdict.UNDECIDED and "McNemar, one seed" in outcome.why
    assert outcome.difference == pytest.approx(60, abs=3)


def test_what_cannot_be_tested_says_why():
    rows = values(0.03)
    failing = [rows[0].model_copy(update={"detail": {"failed_checks": ["broken"]}}), *rows[1:]]
    fewer = [r.model_copy(update={"n": 400}) if r.method == "unremix" else r for r in rows]
    other_seeds = [r.model_copy(update={"seed": r.seed + 5}) if r.method == "unremix" else r for r in rows]
    other_data = [r.model_copy(update={"data_hash": "e" * 12}) if r.method == "unremix" else r for r in rows]
    for found, why in (
        (failing, "simclr fails a sanity check"),
        (fewer, "unremix on 400 examples, simclr on 500"),
        (other_seeds, "no seed in common"),
        (other_data, "other test data"),
        (rows[:3], "no rows of unremix"),
        ([], "no rows"),
    ):
        result = judged(found)
        assert result.verdict is Verdict.NOT_TESTABLE
        assert [each.why for each in result.outcomes] == [why]
    lacking = judged(rows, protocols=["linear", "knn"])
    assert [(each.place.what, each.why) for each in lacking.outcomes] == [("knn", "no rows"), ("linear", "")]


def test_rows_of_older_code_count_and_are_marked():
    rows = values(0.03)
    (old,), (new,) = (
        judged(found).outcomes for found in (Loaded(loaded(rows).stored, older={rows[3].identity}), loaded(rows))
    )
    assert old.older and not new.older
    assert (old.verdict, old.difference, old.p_value) == (new.verdict, new.difference, new.p_value)
    assert told(old) == told(new).replace("]", "] †", 1)


def test_a_claim_fares_as_its_least_favourable_comparison():
    rows = values(0.03)
    more = rows + [row("dcl", seed, 0.9 + 0.001 * seed) for seed in range(3)]
    both = judged(more, right=["simclr", "dcl"])
    assert [each.verdict for each in both.outcomes] == [Verdict.SUPPORTED, Verdict.CONTRADICTED]
    assert both.verdict is Verdict.CONTRADICTED and both.deciding.right == "dcl"
    absent = judged(rows, right=["simclr", "dcl"])
    assert absent.verdict is Verdict.NOT_TESTABLE and absent.count(Verdict.SUPPORTED) == 1
    contradicted = judged(values(-0.03), right=["simclr", "dcl"])
    assert contradicted.verdict is Verdict.CONTRADICTED, "one counterexample is enough"
    as_good = judged(more, relation="equivalent", right=["simclr", "dcl"])
    assert as_good.verdict is Verdict.CONTRADICTED


def test_holms_correction_runs_over_the_comparisons_of_a_claim():
    """0.03 alone is significant, as one of two such it is not."""
    rows = values(0.01, 0.0)
    spread = next(s for s in np.geomspace(1e-3, 1e-2, 400) if stats.t.sf(0.01 / (s / 3**0.5), 2) * 2 > 0.03)
    rows = [*values(0.01, float(spread)), *values(0.01, float(spread), protocol="knn")]
    assert judged(rows).verdict is Verdict.SUPPORTED
    twice = judged(rows, protocols=["linear", "knn"])
    assert [each.verdict for each in twice.outcomes] == [Verdict.UNDECIDED] * 2
    assert twice.outcomes[0].p_value == pytest.approx(2 * judged(rows).outcomes[0].p_value, rel=1e-6)


def test_variance_is_pooled_over_the_methods_of_the_column_as_in_tables():
    calm = values(0.012, 0.001)
    restless = [row(m, s, 0.7 + 0.05 * ((s + i) % 3)) for i, m in enumerate(("dcl", "hcl")) for s in range(3)]
    reference = [row("random", s, 0.2 + 0.1 * s) for s in range(3)]
    assert judged([*calm, *reference]).verdict is Verdict.SUPPORTED, "a reference row inflates nothing"
    assert judged([*calm, *restless]).verdict is not Verdict.SUPPORTED


def test_at_equal_cost_each_length_of_the_first_method_is_a_comparison():
    rows = [
        item
        for line, lengths in (("rocl", (5, 15, 30)), ("swaro", (7, 23)))
        for each in lengths
        for item in trained(line, each)
    ]
    wanted = Claim.model_validate(
        claim(track="swaro", target="cost", protocols=[], left=["swaro"], right=["rocl"], margin=2), strict=False
    )
    columns = columns_of(wanted, "default", loaded(rows), TRACK)
    assert [place.what for place in columns] == [f"cost of rocl in {epochs} epochs" for epochs in (5, 15, 30)]
    found = judge("it", wanted, columns, without_rows(wanted, "default", TRACK, columns))
    # 15 epochs of RoCL cost as much as 23 of SwARo; 7 of SwARo use less than 70 % of 15
    assert [(each.place.what, each.verdict) for each in found.outcomes] == [
        ("cost of rocl in 5 epochs", Verdict.CONTRADICTED),
        ("cost of rocl in 15 epochs", Verdict.SUPPORTED),
    ]
    robust = {line: cell.mean for line, cell in columns[found.outcomes[1].place].items()}
    assert found.outcomes[1].difference == pytest.approx(100 * (robust["swaro"] - robust["rocl"]))
    lacking = judge("it", wanted, {}, without_rows(wanted, "default", TRACK, {}))
    assert lacking.verdict is Verdict.NOT_TESTABLE and lacking.outcomes[0].place.what == "equal cost"
    assert PARAMS.swaro.cost


# Published values


def reaching(rows: list[Row], **changes: object):
    """What ``rows`` say of the claim that GraphCL reaches its published value on MUTAG, 86.80 ± 1.34."""
    wanted = {"track": "graphs", "datasets": ["mutag"], "protocols": ["fold-svm"], "left": ["graphcl"]}
    return judged(rows, **wanted | {"right": ["published"], "relation": "reaches"} | changes)


def in_folds(*percent: float, method: str = "graphcl", dataset: str = "mutag", **fields) -> list[Row]:
    place = {"protocol": "fold-svm", "dataset": dataset, "track": "graphs", "stage": "cross_validate"}
    return [row(method, seed, value / 100, **place | fields) for seed, value in enumerate(percent)]


@pytest.mark.parametrize(
    ("units", "margin", "standing", "verdict"),
    [
        (0.5, 1, "met", Verdict.SUPPORTED),
        (-0.95, 1, "met", Verdict.SUPPORTED),
        (3.0, 1, "above", Verdict.SUPPORTED),
        (-1.05, 1, "below", Verdict.CONTRADICTED),
        (-1.05, 2, "below", Verdict.SUPPORTED),
        (-0.95, 0.9, "met", Verdict.CONTRADICTED),
    ],
)
def test_a_published_value_is_reached_within_the_margin_or_above(units, margin, standing, verdict):
    found = reaching(in_folds(86.80 + 1.34 * units), margin=margin)  # one seed: the published spread alone
    (outcome,) = found.outcomes
    assert (found.verdict, outcome.why) == (verdict, f"published 86.8 ± 1.3, {standing}")
    assert outcome.difference == pytest.approx(1.34 * units) and outcome.title.startswith("graphcl - published, ")
    assert f"{1.34 * units:+.1f}; published 86.8 ± 1.3, {standing} |" in as_markdown([found])


def test_what_cannot_be_held_against_a_published_value_says_why():
    both = {"left": ["graphcl", "infograph"]}
    infograph = in_folds(89.0, 90.0, method="infograph")
    failing = in_folds(86.0, 87.0, failed_checks=["broken"])
    unpublished = in_folds(60.0, method="graphcl", dataset="ptc-mr", preset="graphs")
    on_ptc = {"presets": ["graphs"], "datasets": ["ptc-mr"]}
    for rows, changes, why in (
        ([], {}, ["no rows"]),
        (infograph, {}, ["no rows of graphcl"]),
        (failing, {}, ["graphcl fails a sanity check"]),
        (unpublished, on_ptc, ["no published number"]),
    ):
        result = reaching(rows, **changes)
        assert result.verdict is Verdict.NOT_TESTABLE and [each.why for each in result.outcomes] == why
    partly = reaching(infograph, **both)
    assert partly.verdict is Verdict.NOT_TESTABLE and partly.count(Verdict.SUPPORTED) == 1
    on_both = [*unpublished, *in_folds(62.0, method="infograph", dataset="ptc-mr", preset="graphs")]
    (outcome,) = reaching(on_both, **on_ptc | both).outcomes
    assert (outcome.left, outcome.verdict) == ("infograph", Verdict.SUPPORTED), "GraphCL has none there to reach"


# The file


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project with a claim and rows that support it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(parameters()))
    write(tmp_path, asked(values(0.03)))
    save(tmp_path)
    return tmp_path


def save(folder: Path, **changes: object) -> None:
    (folder / "claims.yaml").write_text(yaml.safe_dump({"claims": {"it": claim(**changes)}}))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"presets": ["defualt"]}, "presets: unknown preset 'defualt'; did you mean 'default'?"),
        ({"track": "unremx"}, "track = \"unremx\": unknown track; did you mean 'unremix'?"),
        (
            {"left": ["unremx"]},
            "left, right: no 'unremx' among the methods of preset 'default'; did you mean 'unremix'?",
        ),
        ({"right": ["mochi"]}, "left, right: no 'mochi' among the methods"),
        ({"right": ["unremix"]}, "left and right: 'unremix' cannot be set against itself"),
        ({"datasets": ["cifar10"]}, "datasets: none of them is in preset 'default'; known: mnist5k, mnist5k-to-digits"),
        ({"datasets": ["mnist5k", "minst"]}, "datasets: 'minst' is in none of its presets"),
        ({"protocols": ["liner"]}, 'protocols.0 = "liner": no protocol has such a name'),
        ({"protocols": ["lin"]}, 'protocols.0 = "lin": no protocol has such a name'),
        ({"protocols": ["few-shots-*"]}, 'protocols.0 = "few-shots-*": no protocol has such a name'),
        ({"protocols": []}, "protocols: at equal cost robust accuracy"),
        ({"target": "cost"}, "protocols: at equal cost robust accuracy"),
        ({"target": "cost", "protocols": []}, "left, right: no 'unremix' among the cost of preset 'default'"),
        ({"margin": -1}, "margin = -1"),
        ({"margin": 0}, "margin = 0"),
        ({"relation": "<"}, 'relation = "<"'),
        ({"relation": "reaches"}, "relation: 'published', alone on the right, is what others reach"),
        ({"right": ["published"]}, "relation: 'published', alone on the right, is what others reach"),
        ({"relation": "reaches", "right": ["published", "simclr"]}, "relation: 'published', alone on the right"),
        ({"left": ["published"]}, "left, right: no 'published' among the methods"),
        (
            {"relation": "reaches", "right": ["published"]},
            "presets: unremix of preset 'default' is not at the published setting",
        ),
        ({"left": []}, "left"),
        ({"margins": 1}, "margins: unknown key; did you mean 'margin'?"),
    ],
)
def test_a_claim_about_what_there_is_not_is_one_line(project, changes, told):
    save(project, **changes)
    with pytest.raises(UserError) as error:
        load_claims(project)
    message = str(error.value)
    assert message.startswith(f"{project / 'claims.yaml'}: claims.it") and told in message and "\n" not in message


@pytest.mark.parametrize(
    "pattern", ["linear", "low-label-*", "few-shot-*-1-shot-*", "alf-worst-case-linf@0.1", "*", "transfer-*"]
)
def test_names_and_patterns_of_protocols_are_known(project, pattern):
    save(project, protocols=[pattern])
    assert load_claims(project)["it"].protocols == (pattern,)


def test_the_shipped_claims_name_what_their_presets_run():
    claims = load_claims(ROOT)
    assert {each.track for each in claims.values()} == {"unremix", "swaro", "uamix", "graphs"}
    for each in claims.values():
        assert each.source == "abstract" or (ROOT / each.source).is_file()
        assert set(each.presets) <= {"default", "cifar", "esc50", "tuned", "graphs", "graphs-more"} and load(
            each.presets[0], ROOT
        )


# What is rendered


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_the_command_shows_every_comparison(project):
    shown = run("claims")
    assert shown.exit_code == 0
    assert "unremix - simclr, linear, mnist5k (default)" in shown.stdout and "+3.0 [" in shown.stdout
    (content,) = json.loads(run("claims", "--json", "--preset", "default").stdout)
    assert (content["id"], content["verdict"], content["margin"]) == ("it", "supported", 1)
    (comparison,) = content["comparisons"]
    assert comparison["difference"] == pytest.approx(3) and comparison["p_equivalence"] == 1
    save(project, text="a | b")
    table = as_markdown(judged_claims(load_claims(project), loaded(values(0.03)), project))
    assert "| a \\| b (`it`) | **supported** | 1 supported | unremix - simclr" in table
    assert "no claim names preset 'cifar'" in str(run("claims", "--preset", "cifar").exception)
    (project / "claims.yaml").unlink()
    assert str(run("claims").exception) == "claims.yaml: no claims; write some"
    assert as_json([]) == "[]\n"


def test_a_region_of_claims_is_rendered_and_a_stale_one_fails(project):
    (project / "README.md").write_text("<!-- claims: unremix -->\n<!-- end -->\n")
    assert "README.md: stale" in run("check-results").stderr
    assert run("tables", "--docs").exit_code == 0
    assert "| **supported** |" in (project / "README.md").read_text()
    assert run("check-results").exit_code == 0
    write(project, asked(values(-0.03)))
    assert "README.md: stale" in run("check-results").stderr
    (project / "README.md").write_text("<!-- claims: swaro -->\n<!-- end -->\n")
    with pytest.raises(UserError, match=r"README\.md: claims: 'swaro': claims\.yaml has no claim about such a track"):
        with_tables(project / "README.md", loaded(values(0.03)), project)


def test_the_report_shows_claims_and_every_difference(project):
    page = build_report(loaded(values(0.03)), "default", {}, project)
    assert 'UnReMix is better than SimCLR. <b class="supported">Supported</b>' in page
    assert "unremix - simclr, linear, mnist5k (default)" in page and "Method against method (1)" in page
    assert re.search(r"simclr - unremix<td[^>]*>linear<td[^>]*>-3\.0 \[-3\.7,\s-2\.3\]<td", page)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<!-- claim: it supported -->It\nholds.<!-- /claim -->", []),
        (
            "<!-- claim: it contradicted -->No.<!-- /claim -->",
            ["claim 'it': the sentence says contradicted, the rows say supported"],
        ),
        ("<!-- claim: that supported -->It holds.<!-- /claim -->", ["claim 'that': no such claim; known: it"]),
        (
            "<!-- claim: it true -->It holds.<!-- /claim -->",
            ["claim 'it': no such verdict as 'true'; known: contradicted"],
        ),
        ("<!-- claim: it -->It holds.<!-- /claim -->", ["claim: each needs its form"]),
        ("<!-- claim: it supported -->It holds.", ["claim: each needs its form"]),
        ("It is level with SimCLR.", ["'level with': say so between the markers"]),
        ("Both are ON\nPAR.", ["'ON\\nPAR': say so"]),
        ("<!-- claim: it supported -->It is level with it.<!-- /claim -->", ["'level with': say so"]),
        ("as `<!-- claim: ID VERDICT -->level with<!-- /claim -->` has it", []),
        ("```\n<!-- claim: ID -->\n```\n", []),
    ],
)
def test_sentences_on_claims_are_held_against_the_rows(project, text, told):
    (project / "docs").mkdir()
    (project / "docs/page.md").write_text(text)
    lines = wrong_sentences(loaded(values(0.03)), project)
    assert len(lines) == len(told)
    for line, part in zip(lines, told, strict=True):
        assert line.startswith("docs/page.md: ") and part in line and "\n" not in line
    assert run("tables", "--docs").exit_code == 0
    assert run("check-results").exit_code == bool(told)


def test_level_with_is_said_where_an_equivalence_holds(project):
    (project / "README.md").write_text("<!-- claim: it equivalent -->They are level with each other.<!-- /claim -->")
    save(project, relation="equivalent")
    assert wrong_sentences(loaded(values(0.0005)), project) == []
    assert len(wrong_sentences(loaded(values(0.03)), project)) == 2, "another verdict, and not level any more"
    save(project)
    (line,) = wrong_sentences(loaded(values(0.0005)), project)
    assert "'level with'" in line, "that one is better was not shown: no equivalence was claimed"
