"""The stage ``spectrograms`` against the front end applied clip by clip."""

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from audio_sets import noise, prepared, sound_split
from conftest import REPOSITORY
from small_project import run

from contrastbench.augment.log_mel import log_mel, number_of_frames
from contrastbench.datasets.base import Split
from contrastbench.datasets.store import Prepared, open_prepared, spectrogram_hash, verify_prepared
from contrastbench.errors import UserError
from contrastbench.params.audio import FrontEndParams
from contrastbench.params.root import load
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.stages import spectrograms as stage

FRONT_END = FrontEndParams(frames=32, mels=16, segments=3)
SOUND = "fsdd"
PARAMS = load(root=REPOSITORY)
LENGTHS = [400, 32 * 160 + 240, 3000, 17_000, 60_000, 5_200]


def made(params: FrontEndParams, name: str = SOUND, preset: str = "default") -> Prepared:
    """What the stage makes of prepared sound with this front end, in the working directory."""
    uamix = PARAMS.track("uamix").model_copy(update={"front_end": params})
    grid = Grid(preset, given=PARAMS.model_copy(update={"uamix": uamix}))
    run(grid, "spectrograms", Job("uamix", name))
    return open_prepared(grid.layout.spectrograms("uamix", name))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of prepared data, with sound in it, of the project that is the working directory."""
    monkeypatch.chdir(tmp_path)
    clips = [noise(length, seed, 0.05 * (seed + 1)) for seed, length in enumerate(LENGTHS)]
    train = sound_split(clips, [0, 1, 0, 1, 0, 1], group=np.arange(6) * 10, fold=np.arange(6))
    few = sound_split(clips[2:4], [0, 1], group=np.array([70, 80]), fold=np.array([6, 7]))
    data = tmp_path / "data/prepared"
    prepared(data / SOUND, {"train": train, "validation": few, "test": few})
    return data


def by_hand(clip: np.ndarray, mean: float, std: float) -> np.ndarray:
    """One clip's segments, straight from the definition."""
    whole = log_mel(torch.tensor(np.array(clip)).float()[None] / 32768, FRONT_END.mels)[0]
    count = min(FRONT_END.segments, max(1, round(len(whole) / FRONT_END.frames)))
    rows = torch.zeros(count * FRONT_END.frames, FRONT_END.mels)
    rows[: min(len(whole), len(rows))] = whole[: len(rows)]
    return ((rows - mean) / (2 * std)).reshape(count, FRONT_END.frames, FRONT_END.mels).numpy()


def test_equals_the_front_end_clip_by_clip(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "BATCH", 4)
    data, sound = made(FRONT_END), open_prepared(folder / SOUND)
    meta = data.meta
    assert meta.front_end is not None
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
    data = made(FRONT_END)
    meta = data.meta
    assert meta.front_end is not None
    x = data.x("train").astype(np.float64)
    padding = -meta.front_end.mean / (2 * meta.front_end.std)
    real = x[(np.abs(x - padding) > 1e-3).any(axis=2)]
    assert abs(real.mean()) < 2e-3 and abs(real.std() - 0.5) < 2e-3
    frames = sum(min(number_of_frames(n), 32 * s) for n, s in zip(LENGTHS, [1, 1, 1, 3, 3, 1], strict=True))
    assert len(real) == frames


def test_unlabeled_sound_counts_in_the_statistics(folder: Path) -> None:
    sound = open_prepared(folder / SOUND)
    few = sound_split([noise(6000, 1)], [0])
    loud = sound_split([noise(6000, 2, 0.9)], None)
    prepared(folder / "nsynth", {"train": few, "unlabeled": loud, "test": few, "validation": few})
    prepared(folder / "esc50", {"train": few, "test": few, "validation": few})
    more, less = made(FRONT_END, "nsynth"), made(FRONT_END, "esc50")
    with_it, without = more.meta.front_end, less.meta.front_end
    assert with_it is not None and without is not None and with_it.mean > without.mean + 1
    assert more.y("unlabeled") is None
    assert sound.meta.front_end is None


def test_given_statistics_are_taken(folder: Path) -> None:
    params = FrontEndParams(frames=32, mels=16, segments=1, mean=-4.2677393, std=4.5689974)
    data = made(params)
    meta = data.meta
    assert meta.front_end is not None and (meta.front_end.mean, meta.front_end.std) == (-4.2677393, 4.5689974)
    assert len(data.x("train")) == len(LENGTHS)
    padding = data.x("train")[0, 1:]  # 400 samples are one frame
    assert np.abs(padding - 4.2677393 / (2 * 4.5689974)).max() < 1e-3


def test_the_same_twice(folder: Path) -> None:
    first, second = made(FRONT_END, preset="one"), made(FRONT_END, preset="two")
    assert first.folder != second.folder and first.meta == second.meta


def test_the_hash_is_of_the_sound_and_the_parameters_not_of_the_last_bits(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another processor's kernels give other last bits, and with them another mean."""
    here = made(FRONT_END, preset="here")
    monkeypatch.setattr(stage, "log_mel", lambda *arguments: log_mel(*arguments) * 1.001)
    there = made(FRONT_END, preset="there")
    assert here.meta.front_end != there.meta.front_end and here.contents != there.contents
    expected = spectrogram_hash(open_prepared(folder / SOUND).meta.hash, FRONT_END)
    assert here.meta.hash == there.meta.hash == expected
    for each in (here, there):
        verify_prepared(each)
    (here.folder / "test_x.npy").write_bytes((there.folder / "test_x.npy").read_bytes())
    with pytest.raises(UserError, match=r"test_x.npy: changed since it was prepared"):
        verify_prepared(open_prepared(here.folder))


def test_other_kernels_give_the_same_hash(folder: Path) -> None:
    here = made(FRONT_END, preset="here")
    code = (
        "from test_spectrograms import made, FrontEndParams\n"
        f"params = FrontEndParams.model_validate({FRONT_END.model_dump()})\n"
        "print(made(params, preset='there').meta.hash)"
    )
    kernels = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "OPENBLAS_CORETYPE": "Haswell"}
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | kernels | {"PYTHONPATH": paths}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [here.meta.hash]


def test_every_change_of_sound_or_front_end_changes_the_hash(folder: Path) -> None:
    sound = open_prepared(folder / SOUND)
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
    changes = [{"frames": 48}, {"mels": 17}, {"segments": 2}, {"mean": -4.0, "std": 4.0}, {"mean": -4.0, "std": 4.5}]
    hashes = [made(FRONT_END.model_copy(update=change)).meta.hash for change in ({}, *changes)]
    prepared(folder / "esc50", splits)
    hashes.append(made(FRONT_END, "esc50").meta.hash)
    assert len(set(hashes)) == len(hashes)


def test_refuses_what_is_no_sound(folder: Path) -> None:
    data = made(FRONT_END)
    shutil.copytree(data.folder, folder / "esc50")
    with pytest.raises(UserError, match="holds no sound"):
        made(FRONT_END, "esc50")
