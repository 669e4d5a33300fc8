"""Files dated in the future neither fail a finished job nor hide what is stale."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from contrastbench.errors import UserError
from contrastbench.pipeline import dates
from contrastbench.pipeline.dates import bring_back_future_dates

DAY = 86400
SNAKEFILE = """
from contrastbench.pipeline.dates import bring_back_future_dates
bring_back_future_dates()
rule judged:
    input: "runs/trained"
    output: "results/judged"
    shell: "touch {output}"
rule trained:
    input: "data/prepared/meta.json"
    output: "runs/trained"
    shell: "head -c 2000000 /dev/zero > {output}"
"""


def dated(path: Path, days: float, content: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    date = time.time() + days * DAY
    os.utime(path, (date, date))
    return path


@pytest.fixture
def snakemake(tmp_path, repository):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "profiles/default").mkdir(parents=True)
    profile = "profiles/default/config.yaml"
    (tmp_path / profile).write_text((repository / profile).read_text())

    def run(*options: str) -> str:
        program = Path(sys.executable).parent / "snakemake"
        environment = os.environ | {"PYTHONPATH": str(repository / "src")}
        command = [program, "--cores", "1", *options]
        done = subprocess.run(command, cwd=tmp_path, env=environment, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    return run


def test_a_job_that_ends_before_the_date_of_its_input_is_kept(tmp_path, snakemake):
    dated(tmp_path / "data/prepared/meta.json", 1)
    snakemake()
    assert (tmp_path / "runs/trained").stat().st_size == 2_000_000
    assert "Nothing to be done" in snakemake("--dry-run")


def test_an_input_of_the_same_content_redoes_nothing_whatever_its_date(tmp_path, snakemake):
    """``runs/trained`` is larger than what Snakemake compares by default."""
    dated(tmp_path / "data/prepared/meta.json", -1)
    snakemake()
    for date in (time.time(), time.time() + DAY):
        for path in ("data/prepared/meta.json", "runs/trained"):
            os.utime(tmp_path / path, (date, date))
            assert "Nothing to be done" in snakemake("--dry-run")
    dated(tmp_path / "data/prepared/meta.json", 1, "new")
    assert "updated input files" in snakemake("--dry-run")


def test_the_order_stays(tmp_path):
    past = dated(tmp_path / "runs/past", -1)
    names = ["data/prepared/a/meta.json", "runs/b", "results/c", "data/spectrograms/d"]
    late = [dated(tmp_path / name, days) for days, name in enumerate(names, start=1)]
    twin = dated(tmp_path / "runs/twin", 0)
    os.utime(twin, ns=(0, late[0].stat().st_mtime_ns))
    before = past.stat().st_mtime_ns
    assert bring_back_future_dates(tmp_path) == 5
    found = [path.stat().st_mtime_ns for path in late]
    assert found == sorted(set(found)) and before < found[0] and found[-1] <= time.time_ns()
    assert twin.stat().st_mtime_ns == found[0] and past.stat().st_mtime_ns == before
    assert bring_back_future_dates(tmp_path) == 0


def test_what_a_link_leads_to_is_not_touched(tmp_path):
    cached, elsewhere = dated(tmp_path / "cache/file", 1), dated(tmp_path / "elsewhere/deep/file", 1)
    for link, target in (("runs/link", cached), ("runs/folder", elsewhere.parent), ("runs/folder2", elsewhere.parent)):
        (tmp_path / link).parent.mkdir(exist_ok=True)
        (tmp_path / link).symlink_to(target)
    (tmp_path / "runs/loop").symlink_to(tmp_path / "runs")
    (tmp_path / "runs/broken").symlink_to(tmp_path / "nothing")
    os.utime(tmp_path / "runs/link", ns=(0, cached.stat().st_mtime_ns), follow_symlinks=False)
    assert bring_back_future_dates(tmp_path) == 2, "the link, and the file in the folder that a link leads to"
    assert cached.stat().st_mtime > time.time() > (tmp_path / "runs/link").lstat().st_mtime
    assert elsewhere.stat().st_mtime <= time.time()


def test_the_present_is_that_of_the_file_system(tmp_path, monkeypatch):
    path = dated(tmp_path / "runs/x", 1)
    monkeypatch.setattr(dates, "_now", lambda root: time.time_ns() + 2 * DAY * 10**9)
    assert bring_back_future_dates(tmp_path) == 0 and path.stat().st_mtime > time.time()


def test_a_date_that_cannot_be_set_is_one_line(tmp_path, monkeypatch):
    path = dated(tmp_path / "runs/x", 1)

    def refuse(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(dates.os, "utime", refuse)
    with pytest.raises(UserError) as caught:
        bring_back_future_dates(tmp_path)
    assert str(caught.value) == f"{path}: dated in the future, and its date cannot be set: Operation not permitted"
