"""Seconds of a `snakemake --cores all` that finds nothing to do, against bare Snakefiles of as many jobs.

    python benchmarks/pipeline.py [--preset smoke] [--repeats 5] [--tiny]

Needs a finished run of the preset in this folder. A bare Snakefile has one rule, in a temporary folder. The first has
one file per job and no parameters; the second has as many files as the preset (each of which Snakemake must find and
compare with its inputs); the third also has one parameter per job, without which no change of parameters could be
noticed (Snakemake then imports pandas, where it is installed). The sides take turns; the ratios of the medians are
printed last.
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
        expand("out/{{number}}-{{part}}.txt", number=range({count}), part=range({files})),

rule one:
    output:
        expand("out/{{{{number}}}}-{{part}}.txt", part=range({files})),
{params}    shell:
        "touch {{output}}"
"""
A_PARAMETER = """\
    params:
        state=lambda wildcards: wildcards.number,
"""


def seconds(folder: Path, *options: str) -> float:
    """Run Snakemake in ``folder``; it must find nothing to do."""
    begun = time.perf_counter()
    done = subprocess.run([SNAKEMAKE, "--cores", "2", *options], cwd=folder, capture_output=True, text=True, check=True)
    assert NOTHING in done.stdout + done.stderr
    return time.perf_counter() - begun


def require_finished(*options: str) -> None:
    """Exit where the preset's run in this folder is not finished; nothing is run."""
    command = ["snakemake", "--cores", "2", *options]
    done = subprocess.run([SNAKEMAKE, *command[1:], "--dry-run"], capture_output=True, text=True, check=True)
    if NOTHING not in done.stdout + done.stderr:
        sys.exit(f"there is no finished run here; run `{' '.join(command)}` first")


def size_of_graph(folder: Path, *options: str) -> tuple[int, int]:
    """The number of jobs in the whole graph, and of the files that they leave."""
    command = [SNAKEMAKE, "--cores", "1", "--dry-run", "--forceall", *options]
    answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    found = re.search(r"^total\s+(\d+)$", answer, re.MULTILINE)
    assert found, answer
    files = re.findall(r"^    output: (.*)$", answer, re.MULTILINE)
    return int(found[1]) - 1, sum(len(line.split(", ")) for line in files)  # without `all`


def main() -> None:
    """Measure all sides in turns and print the medians and their ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", default="default")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="the smoke preset once, to see that this script works")
    if parser.parse_args().tiny:
        parser.set_defaults(preset="smoke", repeats=1)
    arguments = parser.parse_args()
    options = ("--config", f"preset={arguments.preset}")
    require_finished(*options)
    count, files = size_of_graph(Path(), *options)
    per_job = round(files / count)
    bare = {
        "as many jobs": BARE.format(count=count, files=1, params=""),
        "as many jobs and files": BARE.format(count=count, files=per_job, params=""),
        "as many jobs and files, one parameter per job": BARE.format(count=count, files=per_job, params=A_PARAMETER),
    }
    with tempfile.TemporaryDirectory() as name:
        folders = {title: Path(name, str(number)) for number, title in enumerate(bare)}
        for title, folder in folders.items():
            folder.mkdir()
            (folder / "Snakefile").write_text(bare[title], encoding="utf-8")
            subprocess.run([SNAKEMAKE, "--cores", "2", "--quiet", "all"], cwd=folder, capture_output=True, check=True)
        times: dict[str, list[float]] = {title: [] for title in bare}
        ours = []
        for _ in range(arguments.repeats):
            for title, folder in folders.items():
                times[title].append(seconds(folder))
            ours.append(seconds(Path(), *options))
    print(f"{count} jobs, {files} files, nothing to do")
    print(f"contrastbench:  {statistics.median(ours):.2f} s")
    for title, taken in times.items():
        median = statistics.median(taken)
        print(f"bare Snakefile, {title}: {median:.2f} s, ratio {statistics.median(ours) / median:.2f}")


if __name__ == "__main__":
    main()
