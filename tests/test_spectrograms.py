"""The stage ``spectrograms`` against the front end applied clip by clip."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from audio_sets import noise, prepared, sound_split

from contrastbench.augment.log_mel import log_mel, number_of_frames
from contrastbench.datasets.base import Split
from contrastbench.datasets.store import open_prepared, spectrogram_hash, verify_prepared
from contrastbench.errors import UserError
from contrastbench.params.audio import FrontEndParams
from contrastbench.stages import spectrograms as stage
from contrastbench.stages.spectrograms import spectrograms

FRONT_END = FrontEndParams(frames=32, mels=16, segments=3)
LENGTHS = [400, 32 * 160 + 240, 3000, 17_000, 60_000, 5_200]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    clips = [noise(length, seed, 0.05 * (seed + 1)) for seed, length in enumerate(LENGTHS)]
    train = sound_split(clips, [0, 1, 0, 1, 0, 1], group=np.arange(6) * 10, fold=np.arange(6))
    few = sound_split(clips[2:4], [0, 1], group=np.array([70, 80]), fold=np.array([6, 7]))
    prepared(tmp_path / "sound", {"train": train, "validation": few, "test": few})
    return tmp_path


def by_hand(clip: np.ndarray, mean: float, std: float) -> np.ndarray:
    """One clip's segments, straight from the definition."""
    whole = log_mel(torch.tensor(np.array(clip)).float()[None] / 32768, FRONT_END.mels)[0]
    count = min(FRONT_END.segments, max(1, round(len(whole) / FRONT_END.frames)))
    rows = torch.zeros(count * FRONT_END.frames, FRONT_END.mels)
    rows[: min(len(whole), len(rows))] = whole[: len(rows)]
    return ((rows - mean) / (2 * std)).reshape(count, FRONT_END.frames, FRONT_END.mels).numpy()


def test_equals_the_front_end_clip_by_clip(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "BATCH", 4)
    meta = spectrograms(folder / "sound", folder / "mel", FRONT_END)
    assert meta.front_end is not None
    data, sound = open_prepared(folder / "mel"), open_prepared(folder / "sound")
    offsets = sound.column("train", "offsets")
    expected = [
        by_hand(sound.x("train")[first:last], meta.front_end.mean, meta.front_end.std)
        for first, last in itertools.pairwise(offsets)
    ]
    assert [len(segments) for segments in expected] == [1, 1, 1, 3, 3, 1]
    x = data.x("train")
    assert x.dtype == np.float16
    assert np.abs(x - np.concatenate(expected)).max() < 2e-3  # float16 and the batch's own rounding
    clip = data.column("train", "clip")
    assert clip.tolist() == [0, 1, 2, 3, 3, 3, 4, 4, 4, 5]
    y = data.y("train")
    assert y is not None and y.tolist() == [0, 1, 0, 1, 1, 1, 0, 0, 0, 1]
    assert data.column("train", "group").tolist() == (clip * 10).tolist()
    verify_prepared(data)


def test_statistics_are_of_the_training_splits_real_frames(folder: Path) -> None:
    meta = spectrograms(folder / "sound", folder / "mel", FRONT_END)
    assert meta.front_end is not None
    x = open_prepared(folder / "mel").x("train").astype(np.float64)
    padding = -meta.front_end.mean / (2 * meta.front_end.std)
    real = x[(np.abs(x - padding) > 1e-3).any(axis=2)]
    assert abs(real.mean()) < 2e-3 and abs(real.std() - 0.5) < 2e-3
    frames = sum(min(number_of_frames(n), 32 * s) for n, s in zip(LENGTHS, [1, 1, 1, 3, 3, 1], strict=True))
    assert len(real) == frames


def test_unlabeled_sound_counts_in_the_statistics(folder: Path) -> None:
    sound = open_prepared(folder / "sound")
    few = sound_split([noise(6000, 1)], [0])
    loud = sound_split([noise(6000, 2, 0.9)], None)
    prepared(folder / "more", {"train": few, "unlabeled": loud, "test": few, "validation": few})
    prepared(folder / "less", {"train": few, "test": few, "validation": few})
    with_it = spectrograms(folder / "more", folder / "mel-more", FRONT_END).front_end
    without = spectrograms(folder / "less", folder / "mel-less", FRONT_END).front_end
    assert with_it is not None and without is not None and with_it.mean > without.mean + 1
    assert open_prepared(folder / "mel-more").y("unlabeled") is None
    assert sound.meta.front_end is None


def test_given_statistics_are_taken(folder: Path) -> None:
    params = FrontEndParams(frames=32, mels=16, segments=1, mean=-4.2677393, std=4.5689974)
    meta = spectrograms(folder / "sound", folder / "mel", params)
    assert meta.front_end is not None and (meta.front_end.mean, meta.front_end.std) == (-4.2677393, 4.5689974)
    data = open_prepared(folder / "mel")
    assert len(data.x("train")) == len(LENGTHS)
    padding = data.x("train")[0, 1:]  # 400 samples are one frame
    assert np.abs(padding - 4.2677393 / (2 * 4.5689974)).max() < 1e-3


def test_the_same_twice(folder: Path) -> None:
    first = spectrograms(folder / "sound", folder / "one", FRONT_END)
    second = spectrograms(folder / "sound", folder / "two", FRONT_END)
    assert first.hash == second.hash


def test_the_hash_is_of_the_sound_and_the_parameters_not_of_the_last_bits(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another processor's kernels give other last bits, and with them another mean."""
    here = spectrograms(folder / "sound", folder / "here", FRONT_END)
    monkeypatch.setattr(stage, "log_mel", lambda *arguments: log_mel(*arguments) * 1.001)
    there = spectrograms(folder / "sound", folder / "there", FRONT_END)
    data = [open_prepared(folder / name) for name in ("here", "there")]
    assert here.front_end != there.front_end and data[0].contents != data[1].contents
    assert here.hash == there.hash == spectrogram_hash(open_prepared(folder / "sound").meta.hash, FRONT_END)
    for each in data:
        verify_prepared(each)
    (folder / "here" / "test_x.npy").write_bytes((folder / "there" / "test_x.npy").read_bytes())
    with pytest.raises(UserError, match=r"test_x.npy: changed since it was prepared"):
        verify_prepared(open_prepared(folder / "here"))


def test_other_kernels_give_the_same_hash(folder: Path) -> None:
    here = spectrograms(folder / "sound", folder / "here", FRONT_END)
    code = (
        "from pathlib import Path; from contrastbench.params.audio import FrontEndParams\n"
        "from contrastbench.stages.spectrograms import spectrograms\n"
        f"params = FrontEndParams.model_validate({FRONT_END.model_dump()})\n"
        "print(spectrograms(Path('sound'), Path('there'), params).hash)"
    )
    kernels = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "OPENBLAS_CORETYPE": "Haswell"}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=os.environ | kernels, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == [here.hash]


def test_every_change_of_sound_or_front_end_changes_the_hash(folder: Path) -> None:
    sound = open_prepared(folder / "sound")
    louder = np.array(sound.x("train"))
    louder[7] += 1
    splits = {
        name: Split(
            louder if name == "train" else sound.x(name),
            sound.y(name),
            {column: sound.column(name, column) for column in ("offsets", "group", "fold")},
        )
        for name in sound.meta.splits
    }
    prepared(folder / "louder", splits)
    changes = [{"frames": 48}, {"mels": 17}, {"segments": 2}, {"mean": -4.0, "std": 4.0}, {"mean": -4.0, "std": 4.5}]
    hashes = [
        spectrograms(folder / "sound", folder / "mel", FRONT_END.model_copy(update=change)).hash
        for change in ({}, *changes)
    ]
    hashes.append(spectrograms(folder / "louder", folder / "mel", FRONT_END).hash)
    assert len(set(hashes)) == len(hashes)


def test_refuses_what_is_no_sound(folder: Path) -> None:
    spectrograms(folder / "sound", folder / "mel", FRONT_END)
    with pytest.raises(UserError, match="holds no sound"):
        spectrograms(folder / "mel", folder / "again", FRONT_END)
