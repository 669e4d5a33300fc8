"""The list of mutations (mutants.yaml): each has one place, compiles, and names tests that there are."""

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from mutate import PACKAGE, TESTS, mutants

from contrastbench.registry import METHODS

MUTANTS = mutants()
ROOMS = ("objectives", "methods", "augment", "training", "evaluation", "attacks", "jobs", "pipeline", "results")


def test_there_are_enough_in_every_room_and_for_every_method():
    found = Counter(each.file.partition("/")[0] for each in MUTANTS)
    assert len(MUTANTS) >= 60 and all(found[room] >= 3 for room in ROOMS), found
    paths = {entry.path.partition(":")[0].replace(".", "/") + ".py" for entry in METHODS.values()}
    trained = {path for path in paths if path != "methods/random_encoder.py"}
    assert not trained - {each.file for each in MUTANTS}, "a method whose step may be anything"


def test_names_and_reasons():
    assert len({each.id for each in MUTANTS}) == len(MUTANTS)
    assert len({(each.file, each.text, each.replacement) for each in MUTANTS}) == len(MUTANTS)
    for each in MUTANTS:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", each.id)
        assert each.why.endswith(".") and "\n" not in each.why.strip(), each.id


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.id)
def test_a_mutant_has_one_place_and_another_meaning(mutant):
    changed = ast.dump(ast.parse(mutant.applied()))
    assert changed != ast.dump(ast.parse((PACKAGE / mutant.file).read_text(encoding="utf-8")))
    assert mutant.tests
    for test in mutant.tests:
        file, _, name = test.partition("::")
        source = (TESTS / file).read_text(encoding="utf-8")
        assert not name or f"\ndef {name.partition('[')[0]}(" in source, test


def mutate(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, TESTS / "mutate.py", *words], capture_output=True, text=True, check=False)


def test_an_unknown_name_is_refused():
    ended = mutate("--only", "none-such")
    assert ended.returncode == 2 and "no such mutant: none-such" in ended.stderr


COMPUTE = '"""A package."""\n\n\ndef double(x):\n    return 2 * x\n'
NOTICES = "from contrastbench.compute import double\n\n\ndef test_double():\n    assert double({}) == {}\n"
ENTRY = '- {{id: {}, file: compute.py, text: "{}", replacement: "{}", why: Wrong., tests: [test_compute.py]}}\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A package of one function, and a test that notices what happens at 3 alone."""
    (tmp_path / "src/contrastbench").mkdir(parents=True)
    (tmp_path / "src/contrastbench/__init__.py").touch()
    (tmp_path / "src/contrastbench/compute.py").write_text(COMPUTE)
    (tmp_path / "tests").mkdir()
    script = re.sub(r"PRELOADED = .*", "PRELOADED = ()", (TESTS / "mutate.py").read_text())
    (tmp_path / "tests/mutate.py").write_text(script)
    (tmp_path / "tests/test_compute.py").write_text(NOTICES.format(2, 4))
    return tmp_path


def run(project: Path, entries: str) -> tuple[int, str, str]:
    (project / "tests/mutants.yaml").write_text(entries)
    command = [sys.executable, project / "tests/mutate.py"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout, ended.stderr


def test_the_killed_are_told_from_survivors_and_judged_once(project):
    both = ENTRY.format("seen", "2 * x", "3 * x") + ENTRY.format("unseen", "2 * x", "x + 2")
    code, out, _ = run(project, both)
    assert code == 1 and "killed   seen" in out and "SURVIVED: unseen in compute.py: Wrong." in out
    assert out.splitlines()[-1].startswith("1 of 2 killed")
    code, out, _ = run(project, both)
    assert code == 1 and "killed   seen" not in out and "SURVIVED: unseen" in out, "what was judged is told again"
    (project / "tests/test_compute.py").write_text(NOTICES.format(3, 6))
    code, out, _ = run(project, both)
    assert code == 0 and "killed   seen" in out and "killed   unseen" in out, "but not after an edit"
    assert (project / "src/contrastbench/compute.py").read_text() == COMPUTE


def test_what_cannot_be_judged_is_an_error(project):
    code, _, error = run(project, ENTRY.format("gone", "4 * x", "3 * x"))
    assert (code, error.count("\n")) == (2, 1) and "gone: compute.py holds its text 0 times" in error
    (project / "tests/test_compute.py").write_text(NOTICES.format(2, 5))
    code, _, error = run(project, ENTRY.format("seen", "2 * x", "3 * x"))
    assert code == 2 and "the tests fail without any mutation" in error
