"""Rows as older commits hold them: all of them convert, to the very cells that are measured today."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest
from asked_protocols import asked_protocols
from conftest import REPOSITORY

from contrastbench.errors import UserError
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.results.legacy import name_then, row_from
from contrastbench.results.load import Loaded, parse_all
from contrastbench.results.revisions import files_at
from contrastbench.results.rows import parse_row, rows_text

LAST = "21eb8915"  # the last commit with a file per row
SAME = (
    "track", "dataset", "method", "metric", "seed", "value", "n", "preset", "params_hash", "data_hash", "code_hash",
    "device", "wall_s", "peak_mb",
)  # fmt: skip
# What the protocol says now, and `detail` said then.
MOVED = {"norm", "eps", "steps", "snr_db", "head", "source"}


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    asked = subprocess.run(["git", "cat-file", "-e", LAST], cwd=REPOSITORY, capture_output=True)
    if asked.returncode:
        pytest.skip(f"this clone has no commit {LAST}")
    found = files_at(LAST, "results/rows", REPOSITORY)
    assert len(found) == 4695
    return found


@pytest.fixture(scope="module")
def loaded(files: dict[str, bytes]) -> Loaded:
    return parse_all(files)


def test_every_row_converts_and_says_what_it_said(files: dict[str, bytes], loaded: Loaded) -> None:
    assert loaded.problems == [] and {each.path for each in loaded.stored} == set(files)
    for each in loaded.stored:
        row, old = each.row, json.loads(files[each.path])
        assert {name: getattr(row, name) for name in SAME} == {name: old[name] for name in SAME}
        assert row.correct == old.get("correct")
        assert row.interval == (tuple(old["interval"]) if old.get("interval") else None)
        assert name_then(row.protocol) == old["protocol"] == PurePosixPath(each.path).parts[7]
        assert row.stage == PurePosixPath(each.path).parts[3]
        detail = old.get("detail", {})
        assert row.detail == {name: value for name, value in detail.items() if name not in MOVED}
        for part in MOVED:
            found = getattr(row.protocol, part)
            # The norm of clean images, and no steps, were told where they mean nothing.
            if row.protocol.family != "clean" and detail.get(part):
                assert found == detail[part], (each.path, part)


def test_a_converted_row_can_be_written_as_one_of_today(loaded: Loaded) -> None:
    for row in loaded.rows[::25]:
        assert row.schema_version == 1, "its hashes are read as what they were then"
        todays = row.model_copy(update={"schema_version": 2})
        (line,) = rows_text([todays]).splitlines()
        assert parse_row(line, "here") == todays


def test_converted_rows_share_their_columns_with_those_that_are_measured_now(loaded: Loaded) -> None:
    """By the present parameters of their presets, which are the same: see the next test."""
    cells: dict[tuple, set] = {}
    for row in loaded.rows:
        place = (row.preset, row.stage, row.track, row.dataset, row.method, row.seed)
        cells.setdefault(place, set()).add(row.protocol)
    for (preset, stage, track, dataset, method, seed), protocols in cells.items():
        asked = asked_protocols(GRIDS[preset], stage, Job(track, dataset, method, seed))
        if stage in ("attack", "low_shot"):  # other protocols today: what has kept its name has kept its column
            both = set(map(name_then, protocols)) & set(map(name_then, asked))
            protocols, asked = ({each for each in some if name_then(each) in both} for some in (protocols, asked))
            assert {"clean", "pgd"} <= {protocol.family for protocol in protocols} or stage == "low_shot"
        assert {protocol.column for protocol in protocols} == {protocol.column for protocol in asked}
        assert {protocol.name for protocol in protocols} == {protocol.name for protocol in asked}
    assert {stage for _, stage, *_ in cells} == {
        "attack", "audio_attack", "few_shot", "low_shot", "probe", "transfer_attack", "transfer_probe"
    }  # fmt: skip


GRIDS = {preset: Grid(preset, REPOSITORY) for preset in ("default", "cifar", "esc50", "heads")}


def test_their_hashes_of_parameters_are_still_those_asked_for(loaded: Loaded, tmp_path: Path) -> None:
    """But for the grid of the linear probe, which has grown since, and the epochs on CIFAR-10."""
    shutil.copytree(REPOSITORY / "presets", tmp_path / "presets")
    cifar = (REPOSITORY / "presets/cifar.yaml").read_text(encoding="utf-8")
    assert cifar.count("    epochs: 12\n") == 1
    (tmp_path / "presets/cifar.yaml").write_text(cifar.replace("    epochs: 12\n", "    epochs: 4\n"), encoding="utf-8")
    params = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")
    then = params.replace("l2_grid: [0.001, 0.01, 0.1, 1.0, 10.0, 100.0]", "l2_grid: [0.001, 0.01, 0.1, 1.0, 10.0]")
    assert then != params
    (tmp_path / "params.yaml").write_text(then, encoding="utf-8")
    grids = {preset: Grid(preset, tmp_path) for preset in GRIDS}
    places = {(row.preset, row.stage, Job(row.track, row.dataset, row.method)): row.params_hash for row in loaded.rows}
    for (preset, stage, job), found in places.items():
        if job.track != "unremix" or "unremix" in job.method:
            continue  # trained and judged otherwise today
        assert found == grids[preset].asked_params_then(stage, job), (preset, stage, job)


def test_the_method_behind_a_variant_is_told_where_its_label_tells(loaded: Loaded) -> None:
    unknown = set()
    for row in loaded.rows:
        base = GRIDS[row.preset].track(row.track).base_method(row.method)
        if row.base == "":
            unknown.add(row.method)
        else:
            assert row.base == base
    assert all(label.startswith("uamix-") for label in unknown) and "uamix-mae" not in unknown and unknown


def old_row() -> dict:
    row: dict = {
        "schema": 1,
        "track": "swaro",
        "method": "swaro-k10",
        "dataset": "digits",
        "protocol": "aff-pgd-20-linf@0.03137",
        "metric": "robust-top1",
        "seed": 0,
        "value": 0.5,
        "n": 2,
        "preset": "default",
        "params_hash": "p",
        "data_hash": "d",
        "code_hash": "c",
        "device": "cpu",
        "wall_s": 1.0,
        "peak_mb": 2.0,
        "detail": {"head": "aff", "norm": "linf", "eps": 8 / 255, "steps": 20, "passes": 7},
    }
    return row


def test_a_radius_keeps_its_full_precision() -> None:
    row = row_from(old_row(), "attack", "here")
    assert row.protocol.eps == 8 / 255 and row.protocol.head == "aff" and row.protocol.steps == 20
    assert row.base == "swaro" and row.detail == {"passes": 7}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda row: row.pop("protocol"),
        lambda row: row.update(protocol="unheard-of"),
        lambda row: row.update(protocol=7),
        lambda row: row.update(protocol="pgd-20-linf@0.03137"),  # its detail says that the head is aff
        lambda row: row["detail"].update(eps=0.1),
        lambda row: row["detail"].update(steps="many"),
        lambda row: row.update(detail=[]),
        lambda row: row.update(method=None),
        lambda row: row.update(value="high"),
    ],
)
def test_what_is_no_row_is_one_line(spoil: Callable[[dict], object]) -> None:
    content = old_row()
    spoil(content)
    with pytest.raises(UserError, match=r"^here: not a result row: ") as caught:
        row_from(content, "attack", "here")
    assert "\n" not in str(caught.value)
