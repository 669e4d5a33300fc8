"""Damaged rows, thousands of them from seeded mutations: one line each, and all that is made of the rest is made."""

import copy
import json
import random

import pytest
from reporting_rows import path_of, row, verdicts

from contrastbench.pipeline.asked import checked
from contrastbench.pipeline.grid import Grid
from contrastbench.reporting.cells import cells_of
from contrastbench.reporting.check import reproduction_of
from contrastbench.reporting.compare import Comparison, compare_rows_of
from contrastbench.reporting.compare_render import as_html, as_json, as_terminal
from contrastbench.reporting.compare_render import as_markdown as comparison_markdown
from contrastbench.reporting.export import rows_frame
from contrastbench.reporting.figures import protocol_curves
from contrastbench.reporting.provenance import costs
from contrastbench.reporting.render import as_csv, as_latex, as_markdown
from contrastbench.reporting.rendered import metrics_json
from contrastbench.reporting.robustness_figures import (
    attack_heatmap,
    corruptions_by_head,
    sensitivity_to_strength,
    transfer_matrix,
)
from contrastbench.reporting.tables import ablation_tables, tables_of
from contrastbench.results.load import Loaded, parse_all
from contrastbench.results.rows import rows_text

PATH = path_of(row()).with_name("all.jsonl").as_posix()
OLD_PATH = "results/rows/default/attack/swaro/mnist5k/swaro/pgd-20-linf@0.1/0.json"
OLD = {
    "schema": 1, "track": "swaro", "method": "swaro", "dataset": "mnist5k", "protocol": "pgd-20-linf@0.1",
    "metric": "robust-top1", "seed": 0, "value": 0.5, "interval": [0.3, 0.7], "n": 8, "preset": "default",
    "params_hash": "p", "data_hash": "d", "code_hash": "c", "device": "cpu", "wall_s": 1.0, "peak_mb": 1.0,
    "correct": "8A==", "detail": {"head": "slf", "norm": "linf", "eps": 0.1, "steps": 20, "draws": [0.5]},
}  # fmt: skip


def nested(depth: int) -> list:
    found: list = []
    for _ in range(depth):
        found = [found]
    return found


ABSURD = (
    None, True, False, 0, 1, -1, 2**31, 2**53 + 1, 10**30, 10**400, 0.5, -0.0, 1e308, -1e308, 1e-320, float("nan"),
    float("inf"), "", "0", "nan", "é†", "\ud800", "a|b\n`c`", "<script>", "{{x}}", "\x00", "../..", "x" * 10_000,
    "AAAA", "%%%", [], [0.5], [1e308, -1e308], [None], ["a", 1], {}, {"family": "pgd"}, {"": ""},
    {"draws": [0.1] * 3}, {"failed_checks": ["\n|"]}, nested(50), "linear", "knn", "median-distance",
)  # fmt: skip


def good_rows() -> list:
    rows = [row("simclr", seed, correct=verdicts(0.7, 40, seed), draws=[0.7, 0.7]) for seed in range(3)]
    rows += [row("simclr", seed, 1.0 + seed, protocol="cw-l2", metric="median-distance") for seed in range(3)]
    rows += [row("simclr", seed, 0.5, protocol=f"pgd-20-linf@{0.1 * (1 + seed):g}") for seed in range(3)]
    rows += [row("simclr", 0, 0.5, protocol=name) for name in ("clean", "low-label-5", "transfer-from-hcl@0.1")]
    chosen = {"C": 0.1, "by_C": {"0.1": [0.8, 0.5], "1": [0.9, 0.4]}}
    rows += [row("simclr", seed, 0.5, protocol="alf-clean", **chosen) for seed in range(2)]
    return [item.model_copy(update={"interval": (0.0, 9.0)}) if index % 2 else item for index, item in enumerate(rows)]


def places(content: object, path: tuple = ()) -> list[tuple]:
    """Every key path into ``content``."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [found for key, value in inner for found in [(*path, key), *places(value, (*path, key))]]


def with_other_values(content: dict, rng: random.Random) -> dict:
    content = copy.deepcopy(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        *path, key = rng.choice(places(content))
        holder = content
        for part in path:
            holder = holder[part]
        action = rng.random()
        if action < 0.1 and isinstance(holder, dict):
            del holder[key]
        elif action < 0.2 and isinstance(holder, dict):
            holder[rng.choice(("more", "", "schema", "head"))] = rng.choice(ABSURD)
        else:
            holder[key] = copy.deepcopy(rng.choice(ABSURD))
    return content


def with_other_bytes(text: bytes, rng: random.Random) -> bytes:
    content = bytearray(text)
    for _ in range(rng.choice((1, 3, 10))):
        at, length = rng.randrange(len(content)), rng.randrange(1, 40)
        replacement = rng.choice(
            (b"", bytes([rng.randrange(256)]), content[:length], b"\n", b"\r\n", b"\x00\xff", b"9" * 99)
        )
        content[at : at + rng.choice((0, 1, length))] = replacement
        content = content or bytearray(b"{}")
    return bytes(content)


def make_everything(loaded: Loaded, before: Loaded) -> None:
    """All that reporting makes of rows."""
    tables = [*tables_of(loaded), *ablation_tables(loaded)]
    for text in (as_csv(tables), as_markdown(tables), as_latex(tables, "default-unremix")):
        assert isinstance(text, str)
    assert json.loads(metrics_json(tables_of(loaded))) is not None
    assert len(rows_frame(loaded)) == len(loaded.rows)
    cells = cells_of(loaded)
    for chart in (
        *protocol_curves(cells),
        *attack_heatmap(cells),
        *corruptions_by_head(cells),
        *transfer_matrix(cells),
        *sensitivity_to_strength(cells),
    ):
        chart.figure.to_json()
    costs(rows_frame(Loaded()), loaded.rows)
    for sides in ((before, loaded), (loaded, before)):
        comparison = Comparison("t", "a", "b", compare_rows_of(*sides, {}), [])
        json.loads(as_json(comparison, True))
        as_html(comparison, True), comparison_markdown(comparison), as_terminal(comparison, True)
        reproduction_of(*sides).summary()
    rows_text(loaded.rows)


@pytest.mark.parametrize("seed", range(3))
def test_no_damage_to_a_file_of_rows_is_a_traceback(seed, repository):
    rng = random.Random(seed)
    good = rows_text(good_rows())
    before, grid = parse_all({PATH: good.encode()}), Grid("default", repository)
    assert len(before.rows) == len(good_rows()) and before.problems == []
    read = refused = 0
    for _ in range(40):
        lines = [json.loads(line) for line in good.splitlines()]
        lines = [with_other_values(line, rng) if rng.random() < 0.5 else line for line in lines]
        text = "".join(f"{json.dumps(line)}\n" for line in lines).encode("utf-8", "surrogatepass")
        text = with_other_bytes(text, rng) if rng.random() < 0.4 else text
        old = json.dumps(with_other_values(OLD, rng)).encode()
        loaded = parse_all({PATH: text, OLD_PATH: with_other_bytes(old, rng) if rng.random() < 0.3 else old})
        assert all("\n" not in line and line.startswith("results/rows/") for line in loaded.problems)
        read, refused = read + len(loaded.rows), refused + len(loaded.problems)
        make_everything(loaded, before)
        checked(loaded, grid)
    assert read > 150 and refused > 100, "the mutations spare enough, and damage enough"


def test_the_old_row_is_readable_as_it_is():
    assert len(parse_all({OLD_PATH: json.dumps(OLD).encode()}).rows) == 1
