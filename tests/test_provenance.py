"""What results hang on is in what names them: each fact changed alone, on a project that has trained nothing."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from small_project import small_grid

from contrastbench.errors import UserError
from contrastbench.jobs.classifiers import origin_of_classifiers
from contrastbench.jobs.features_file import origin_of
from contrastbench.jobs.rows import RowWriter
from contrastbench.params.base import params_hash
from contrastbench.pipeline import grid as grid_module
from contrastbench.pipeline.fingerprint import fingerprint
from contrastbench.pipeline.grid import Grid, joined
from contrastbench.pipeline.layout import Job
from contrastbench.pipeline.records import asked_record, trained_record
from contrastbench.results.protocols import Protocol
from contrastbench.results.rows import pack_correct, unpack_correct

SWARO, TUNED = Job("swaro", "digits", "swaro", 0), Job("uamix", "instruments", "uamix-mae", 0)


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Grid:
    monkeypatch.chdir(tmp_path)
    return small_grid(tmp_path)


def weights(grid: Grid, job: Job, content: str) -> None:
    grid.trained(job).mkdir(parents=True, exist_ok=True)
    (grid.trained(job) / "model.safetensors").write_text(content)


def other_code(monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    known = lambda name, *modules: "other" if name == stage else fingerprint(name, *modules)  # noqa: E731
    monkeypatch.setattr(grid_module, "fingerprint", known)


def data(digits: str) -> SimpleNamespace:
    return SimpleNamespace(contents=digits, meta=SimpleNamespace(hash=digits))


def test_classifiers_and_verdicts_hang_on_weights_data_parameters_and_code(
    grid: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights(grid, SWARO, "trained")
    origins = [origin_of_classifiers(grid, SWARO, data("one")) for _ in range(2)]
    origins.append(origin_of_classifiers(grid, SWARO, data("two")))
    changed = small_grid(grid.root, {"swaro": {"robustness": {"l2_grid": [0.5]}}})
    origins.append(origin_of_classifiers(changed, SWARO, data("one")))
    weights(grid, SWARO, "trained otherwise")
    origins.append(origin_of_classifiers(grid, SWARO, data("one")))
    other_code(monkeypatch, "attack")
    origins.append(origin_of_classifiers(grid, SWARO, data("one")))
    assert origins[0] == origins[1] and len(set(origins)) == 5


def test_features_hang_on_weights_data_and_code(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    weights(grid, SWARO, "trained")
    origins = [origin_of(grid, SWARO, data("one")), origin_of(grid, SWARO, data("two"))]
    weights(grid, SWARO, "trained otherwise")
    origins.append(origin_of(grid, SWARO, data("two")))
    other_code(monkeypatch, "features")
    origins.append(origin_of(grid, SWARO, data("two")))
    assert len(set(origins)) == 4


def test_a_tuned_encoder_hangs_on_the_code_of_all_that_led_to_it(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its spectrograms, of the autoencoder's training, of its own."""
    before = grid.asked_code("few_shot", TUNED)
    for stage in ("spectrograms", "pretrain", "tune", "features", "few_shot"):
        other_code(monkeypatch, stage)
        assert grid.asked_code("few_shot", TUNED) != before, stage
    other_code(monkeypatch, "attack")
    assert grid.asked_code("few_shot", TUNED) == before


def test_a_row_hangs_on_the_parameters_of_data_training_protocol_and_source(grid: Grid) -> None:
    track, own = grid.track("swaro"), grid.asked_params("transfer_attack", SWARO)
    parts = [grid.params.data, track.pretrain("swaro", "digits"), track.robustness.on("digits", "digits")]
    assert own == joined(params_hash(part) for part in parts)
    source = joined(params_hash(part) for part in [*parts, track.pretrain("supervised", "digits")])
    assert grid.asked_params("transfer_attack", SWARO, "supervised") == source != own
    assert grid.asked_params("transfer_attack", SWARO, "swaro") == own


@pytest.mark.parametrize("what", ["params_hash", "code_hash"])
def test_weights_of_other_parameters_or_code_are_refused(grid: Grid, what: str) -> None:
    """tests/test_wiring.py has every stage refuse them."""
    weights(grid, SWARO, "trained")
    asked = asked_record(grid, SWARO, "")
    assert asked == {
        "params_hash": params_hash(grid.track("swaro").pretrain("swaro", "digits")),
        "code_hash": grid.code("pretrain", SWARO),
        "data_hash": "",
    }
    record = asked | {"device": "cpu", "warnings": []}
    path = grid.trained(SWARO) / "run.json"
    path.write_text(json.dumps(record))
    assert trained_record(grid, SWARO) == record
    path.write_text(json.dumps(record | {what: "123456789abc"}))
    with pytest.raises(UserError, match="trained with other"):
        trained_record(grid, SWARO)
    with pytest.raises(UserError, match="no such file"):
        trained_record(grid, replace(SWARO, seed=1))


def test_a_warning_of_training_and_its_device_reach_every_row(grid: Grid) -> None:
    weights(grid, SWARO, "trained")
    record = asked_record(grid, SWARO, "") | {"device": "NVIDIA H100", "warnings": ["the loss is stuck"]}
    (grid.trained(SWARO) / "run.json").write_text(json.dumps(record))
    rows = RowWriter(grid, "attack", SWARO, "123456789abc")
    rows.accuracy(Protocol(family="clean", head="slf"), np.asarray([True, False]))
    worst = Protocol(family="worst-case", head="slf", norm="linf", eps=0.1)
    rows.accuracy(worst, np.asarray([True, False]), failed=["not converged"])
    assert [row.detail["failed_checks"] for row in rows.rows] == [
        ["the loss is stuck"],
        ["the loss is stuck", "not converged"],
    ]
    assert all(row.device == "NVIDIA H100" and row.seed == SWARO.seed and row.value == 0.5 for row in rows.rows)


@pytest.mark.parametrize("count", [1, 8, 13])
def test_packed_verdicts_come_back_in_their_order(count: int) -> None:
    correct = np.random.default_rng(0).random(count) < 0.3
    correct[0] = True
    assert unpack_correct(pack_correct(correct), count).tolist() == correct.tolist()
