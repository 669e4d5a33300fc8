"""Applies each mutation of ``mutants.yaml`` to a copy of the sources, and lists those that no test notices.

    python tests/mutate.py                        all; one that a killed run has judged is not run again
    python tests/mutate.py --only ID ...          those
    python tests/mutate.py --drawn 5 --by COMMIT  five, drawn by a commit's hash

Exit code 1 if one survives, 2 if one cannot be applied or its tests fail without it.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
import yaml

TESTS = Path(__file__).resolve().parent
PACKAGE = TESTS.parent / "src" / "contrastbench"
JUDGED = TESTS.parent / "runs" / "mutants.json"  # what was judged, by the digest of all that the verdict hangs on
# Slow to import: processes that run tests are forks of this one.
PRELOADED = ("torch", "torch.optim", "scipy.optimize", "scipy.stats", "sklearn.linear_model", "typer")
KILLED, SURVIVED, HANGS = "killed", "SURVIVED", "HANGS"


@dataclass(frozen=True)
class Mutant:
    """A mutation: ``text``, which ``file`` (in the package) holds once, becomes ``replacement``.

    why    what wrong number it would give
    tests  files or nodes of pytest that should notice, relative to ``tests/``
    """

    id: str
    file: str
    text: str
    replacement: str
    why: str
    tests: tuple[str, ...]

    def applied(self) -> str:
        """The file's mutated text; ValueError, in one line, where there is not one place for it."""
        path = PACKAGE / self.file
        if not path.is_file():
            raise ValueError(f"{self.id}: {self.file}: no such file in {PACKAGE}")
        source = path.read_text(encoding="utf-8")
        if (count := source.count(self.text)) != 1:
            raise ValueError(f"{self.id}: {self.file} holds its text {count} times instead of once; mend mutants.yaml")
        return source.replace(self.text, self.replacement)


def mutants() -> list[Mutant]:
    """All that are listed."""
    entries = yaml.safe_load((TESTS / "mutants.yaml").read_text(encoding="utf-8"))
    return [Mutant(**entry | {"tests": tuple(entry["tests"])}) for entry in entries]


def outcome(tests: list[str], sources: Path, timeout: float) -> int | None:
    """Exit code of pytest on the package in ``sources``, in a process of its own; None if it did not end in time."""
    process = multiprocessing.get_context("fork").Process(target=_pytest, args=(tests, sources))
    process.start()
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        process.join()
        return None
    return process.exitcode


def _pytest(tests: list[str], sources: Path) -> None:
    os.chdir(TESTS.parent)
    os.environ["PYTHONPATH"] = str(sources)
    sys.path.insert(0, str(sources))
    with (sources / "output.txt").open("w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        sys.exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *(f"tests/{test}" for test in tests)]))


def digest(mutant: Mutant) -> str:
    """Of all that a verdict hangs on: the mutant, every source, what tests share, and the tests that should notice."""
    shared = [path for path in TESTS.glob("*.py") if not path.name.startswith("test_")]
    own = {TESTS / test.partition("::")[0] for test in mutant.tests}
    digest = hashlib.sha256(json.dumps(asdict(mutant)).encode())
    for path in sorted({*PACKAGE.rglob("*.py"), *shared, *own}):
        digest.update(f"{path.relative_to(TESTS.parent)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def judge(chosen: list[Mutant], timeout: float) -> int:
    """Run ``chosen`` one after another; the exit code."""
    known: dict[str, str] = json.loads(JUDGED.read_text()) if JUDGED.is_file() else {}
    place = {each.id: digest(each) for each in chosen}
    waiting = [each for each in chosen if place[each.id] not in known]
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch, "whole")
        shutil.copytree(PACKAGE, whole / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
        tests = sorted({test for each in waiting for test in each.tests})
        if tests and outcome(tests, whole, timeout * len(waiting)) != pytest.ExitCode.OK:
            print((whole / "output.txt").read_text(), "the tests fail without any mutation", sep="\n", file=sys.stderr)
            return 2
        for each in waiting:
            started = time.perf_counter()
            mutated = Path(shutil.copytree(whole, Path(scratch, each.id)))
            (mutated / PACKAGE.name / each.file).write_text(each.applied(), encoding="utf-8")
            code = outcome(list(each.tests), mutated, timeout)
            if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, None):
                print((mutated / "output.txt").read_text(), f"{each.id}: pytest ended with {code}", file=sys.stderr)
                return 2
            verdict = {None: HANGS, pytest.ExitCode.OK: SURVIVED}.get(code, KILLED)
            known[place[each.id]] = verdict
            JUDGED.parent.mkdir(exist_ok=True)
            JUDGED.write_text(json.dumps(known))
            print(f"{verdict:8} {each.id} ({time.perf_counter() - started:.0f} s)", flush=True)
            shutil.rmtree(mutated)
    left = [each for each in chosen if known[place[each.id]] != KILLED]
    for each in left:
        print(f"{known[place[each.id]]}: {each.id} in {each.file}: {each.why}")
    print(f"{len(chosen) - len(left)} of {len(chosen)} killed, {time.perf_counter() - begun:.0f} s")
    return 1 if left else 0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="ID", help="judge these alone")
    parser.add_argument("--drawn", type=int, metavar="N", help="judge N alone, drawn by the hash --by")
    parser.add_argument("--by", default="", metavar="COMMIT")
    parser.add_argument("--timeout", type=float, default=300, metavar="SECONDS", help="of one mutant's tests")
    asked = parser.parse_args()
    chosen = mutants()
    if unknown := set(asked.only or ()) - {each.id for each in chosen}:
        parser.error(f"no such mutant: {', '.join(sorted(unknown))}")
    if asked.only:
        chosen = [each for each in chosen if each.id in asked.only]
    if asked.drawn is not None:
        chosen = random.Random(asked.by).sample(chosen, min(asked.drawn, len(chosen)))
    try:
        for each in chosen:
            each.applied()
    except ValueError as problem:
        print(problem, file=sys.stderr)
        return 2
    for name in PRELOADED:
        __import__(name)
    return judge(chosen, asked.timeout)


if __name__ == "__main__":
    sys.exit(main())
