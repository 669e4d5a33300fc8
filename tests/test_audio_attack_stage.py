"""The stage ``audio_attack``, from sound to rows: three pitches, a small autoencoder, both kinds of attack."""

from pathlib import Path

import numpy as np
import pytest
import torch
from audio_sets import about, tones
from pydantic import ValidationError
from small_project import judged, run, small_grid
from uamix_cases import FRAMES, SIZES

from contrastbench.attacks.pgd import Perturbed
from contrastbench.datasets.store import open_prepared, write_prepared
from contrastbench.errors import UserError
from contrastbench.jobs.runtime import Runtime
from contrastbench.jobs.segments import Segments, samples_in, segments_of, waveforms
from contrastbench.params.audio import AudioAttackParams
from contrastbench.params.base import from_plain
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.results.protocols import Protocol
from contrastbench.results.rows import Row, unpack_correct
from contrastbench.stages import audio_attack as stage
from contrastbench.stages.audio_attack import (
    audio_attack,
    check_ball,
    check_classes,
    check_sound,
    differentiable,
    whole_segments,
)

JOB = Job("uamix", "instruments", "mae", 0)
PARAMS = {
    "datasets": {"instruments": ["instruments"]},
    "segments": 24,
    "steps": 10,
    "spectrogram": [1e-4, 1.0],
    "snr_db": [80.0, 5.0],
    "l2_grid": [0.1, 1.0],
}
GRID = {
    "tracks": ["uamix"],
    "uamix": SIZES | {"audio_attack": PARAMS},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sound, its spectrograms, a trained autoencoder and its features."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        grid = small_grid(folder, GRID)
        splits = {"train": tones(32, 1), "validation": tones(8, 2), "test": tones(16, 3)}
        facts = about("instruments", classes=("low", "middle", "high"))
        write_prepared(grid.layout.prepared("instruments"), facts, splits, "as made")
        run(grid, "spectrograms", Job("uamix", "instruments"))
        run(grid, "pretrain", JOB)
        run(grid, "features", JOB)
    return folder


@pytest.fixture
def grid(project: Path, monkeypatch: pytest.MonkeyPatch) -> Grid:
    monkeypatch.chdir(project)
    return Grid("small", project)


def attacked(grid: Grid) -> dict[str, Row]:
    return judged(grid, "audio_attack", JOB)


def test_rows_of_both_attacks(grid: Grid) -> None:
    found = attacked(grid)
    assert sorted(found) == [
        "audio-clean", "audio-noise-waveform@5dB", "audio-noise-waveform@80dB", "audio-pgd-10-spectrogram@0.0001",
        "audio-pgd-10-spectrogram@1", "audio-pgd-10-waveform@5dB", "audio-pgd-10-waveform@80dB",
    ]  # fmt: skip
    assert {row.protocol for row in found.values()} == {
        Protocol(family="audio-clean"),
        *(Protocol(family="audio-pgd-spectrogram", norm="linf", eps=eps, steps=10) for eps in (1e-4, 1.0)),
        *(Protocol(family="audio-pgd-waveform", snr_db=snr_db, steps=10) for snr_db in (80.0, 5.0)),
        *(Protocol(family="audio-noise", snr_db=snr_db) for snr_db in (80.0, 5.0)),
    }
    assert all(row.n == 24 and "failed_checks" not in row.detail for row in found.values())
    clean = found["audio-clean"]
    assert clean.value >= 0.9, "three pitches are easy"
    assert clean.metric == "top1"
    for harmless in ("audio-pgd-10-spectrogram@0.0001", "audio-pgd-10-waveform@80dB", "audio-noise-waveform@80dB"):
        assert found[harmless].value == clean.value
    assert found["audio-pgd-10-spectrogram@1"].value <= 0.1
    assert found["audio-pgd-10-waveform@5dB"].value < found["audio-noise-waveform@5dB"].value - 0.3
    assert found["audio-pgd-10-waveform@5dB"].metric == "robust-top1"
    right = unpack_correct(clean.correct, clean.n)
    for row in found.values():
        assert not (unpack_correct(row.correct, row.n) & ~right).any(), "what is wrong when clean stays wrong"


def test_the_same_rows_twice(grid: Grid) -> None:
    first, second = attacked(grid), attacked(grid)
    assert {name: row.correct for name, row in first.items()} == {name: row.correct for name, row in second.items()}


def test_the_attacked_sound_gives_the_stored_spectrogram(grid: Grid) -> None:
    """Without a perturbation both attacks start from the same input, up to the store's float16."""
    sound, data = (
        open_prepared(grid.layout.prepared("instruments")),
        open_prepared(grid.layout.spectrograms("uamix", "instruments")),
    )
    segments = segments_of(sound, "test", grid.sound("uamix").front_end)
    wave = waveforms(sound.x("test"), segments.start, segments.stop, FRAMES)
    assert data.meta.front_end is not None
    through = differentiable(data.meta.front_end)(wave)
    stored = torch.from_numpy(np.array(data.x("test"))).float().unsqueeze(1)
    assert torch.allclose(through, stored, atol=4e-3)


def test_a_broken_promise_marks_the_row(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    original = stage.attack_waveforms

    def too_loud(front_end, model, wave, labels, *, snr_db, **settings) -> Perturbed:  # type: ignore[no-untyped-def]
        return original(front_end, model, wave, labels, snr_db=snr_db - 6, **settings)

    monkeypatch.setattr(stage, "attack_waveforms", too_loud)
    found = attacked(grid)
    assert found["audio-pgd-10-waveform@5dB"].detail["failed_checks"] == [
        "perturbations outside the stated signal-to-noise ratio"
    ]
    assert "failed_checks" not in found["audio-pgd-10-spectrogram@1"].detail


def test_an_attack_weaker_than_noise_marks_the_row(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    def reversed_order(front_end, model, wave, labels, *, steps, **settings) -> Perturbed:  # type: ignore[no-untyped-def]
        return original(front_end, model, wave, labels, steps=0 if steps else 10, **settings)

    original = stage.attack_waveforms
    monkeypatch.setattr(stage, "attack_waveforms", reversed_order)
    lines = attacked(grid)["audio-pgd-10-waveform@5dB"].detail["failed_checks"]
    assert lines == ["gradients do less than noise of the same energy"]


def test_the_classifier_is_chosen_on_validation_clips(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    fit, judge = stage.standard_linear, stage.clean_accuracy

    def spy(encoder, train, *rest, **named):  # type: ignore[no-untyped-def]
        seen.append(len(train.labels))
        return fit(encoder, train, *rest, **named)

    def spying_judge(classifier, validation):  # type: ignore[no-untyped-def]
        seen.append(len(validation.labels))
        return judge(classifier, validation)

    monkeypatch.setattr(stage, "standard_linear", spy)
    monkeypatch.setattr(stage, "clean_accuracy", spying_judge)
    attacked(grid)
    assert seen == [96, *(24 for _ in PARAMS["l2_grid"])], "the test split has 48"


def test_a_class_without_training_clips_is_refused() -> None:
    check_classes(np.array([0, 1, 2, 1]), 3, "toy")
    with pytest.raises(UserError, match=r"^toy: 1 of its 3 classes have no training clip"):
        check_classes(np.array([0, 2, 2, 0]), 3, "toy")


@pytest.mark.parametrize(
    "change", [{"snr_db": [float("inf")]}, {"snr_db": [20, 20]}, {"spectrogram": [0.0]}, {"spectrogram": []}]
)
def test_parameters_that_mean_nothing_are_refused(change: dict) -> None:
    with pytest.raises(ValidationError):
        from_plain(AudioAttackParams, PARAMS | change)


def test_checks_see_what_left_the_ball() -> None:
    clean = torch.zeros(2, 1, 3, 4)
    assert check_ball(clean, clean + 0.1, 0.1) == []
    assert check_ball(clean, clean + 0.11, 0.1)
    assert check_ball(clean, clean + torch.nan, 0.1)
    wave = torch.full((2, 100), 0.5)
    assert check_sound(wave, wave * 1.1, 20.0) == []
    assert check_sound(wave, wave * 1.2, 20.0)
    assert check_sound(wave, wave * 2.1, -10.0), "louder than a file can hold"


def test_only_segments_that_the_clip_fills_are_attacked() -> None:
    full = samples_in(FRAMES)
    lengths = np.array([full, full - 1, full, 10, full])
    segments = Segments(np.arange(5), np.zeros(5, int), lengths)
    assert whole_segments(segments, FRAMES, 10, 0, "toy").tolist() == [0, 2, 4]
    drawn = [tuple(whole_segments(segments, FRAMES, 2, seed, "toy")) for seed in range(8)]
    assert len(set(drawn)) > 1
    with pytest.raises(UserError, match=r"^toy: no test clip fills a segment of 32 frames; lower uamix.front_end"):
        whole_segments(Segments(np.arange(5), np.zeros(5, int), np.full(5, full - 1)), FRAMES, 10, 0, "toy")


def test_a_reference_row_has_nothing_to_attack(grid: Grid) -> None:
    pixels = Job("uamix", "instruments", "pixels", 0)
    assert {job.method for job in grid.jobs("audio_attack", "uamix")} == {"mae", "uamix-mae"}
    run(grid, "features", pixels)
    with pytest.raises(UserError, match="reference row without an encoder"):
        audio_attack(grid, pixels, Runtime())
