"""Seconds of a `snakemake --cores all` that finds nothing to do, against a bare Snakefile of as many jobs.

    python benchmarks/pipeline.py [--preset smoke] [--repeats 5]

Needs a finished run of the preset in this folder. The bare Snakefile has one rule, no parameters and one file a job,
in a temporary folder. The sides take turns; the ratio of the medians is printed last.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NOTHING = "Nothing to be done"
SNAKEMAKE = str(Path(sys.executable).parent / "snakemake")
BARE = """\
rule all:
    input:
        expand("out/{{number}}.txt", number=range({count})),

rule one:
    output:
        "out/{{number}}.txt",
    shell:
        "touch {{output}}"
"""


def seconds(folder: Path, *options: str) -> float:
    """Run Snakemake in ``folder``; it must find nothing to do."""
    begun = time.perf_counter()
    command = [SNAKEMAKE, "--cores", "2", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    if NOTHING not in done.stdout + done.stderr:
        sys.exit(f"{folder}: not finished; run `{' '.join(command)}` first")
    return time.perf_counter() - begun


def number_of_jobs(folder: Path, *options: str) -> int:
    """Jobs of the whole graph."""
    command = [SNAKEMAKE, "--cores", "1", "--dry-run", "--forceall", *options]
    answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    found = re.search(r"^total\s+(\d+)$", answer, re.MULTILINE)
    assert found, answer
    return int(found[1]) - 1  # without `all`


def main() -> None:
    """Measure both sides in turns and print the medians and their ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", default="default")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    options = ("--config", f"preset={arguments.preset}")
    count = number_of_jobs(Path(), *options)
    with tempfile.TemporaryDirectory() as name:
        bare = Path(name)
        (bare / "Snakefile").write_text(BARE.format(count=count), encoding="utf-8")
        subprocess.run([SNAKEMAKE, "--cores", "2", "--quiet", "all"], cwd=bare, capture_output=True, check=True)
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(arguments.repeats):
            theirs.append(seconds(bare))
            ours.append(seconds(Path(), *options))
    print(f"{count} jobs, nothing to do")
    print(f"bare Snakefile: {statistics.median(theirs):.2f} s")
    print(f"contrastbench:  {statistics.median(ours):.2f} s")
    print(f"ratio: {statistics.median(ours) / statistics.median(theirs):.2f}")


if __name__ == "__main__":
    main()
