"""Audio adapters on small files that the tests make, and on real archives where they are available."""

import dataclasses
import errno
import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np
import pandas as pd
import pytest
from audio_sets import noise, sound_split, write_sound
from small_project import prepared_data

from contrastbench.datasets import (
    adapter,
    audioset20k,
    esc50,
    fsdd,
    fsdkaggle2018,
    instruments,
    nsynth,
    sound_files,
    speechcommands,
    speechcommands_esc50,
    speechcommands_test,
    voxceleb1,
)
from contrastbench.datasets.base import Split
from contrastbench.datasets.clips import opened, read_splits, sound_paths
from contrastbench.datasets.fetch import fetch
from contrastbench.datasets.groups import check_groups
from contrastbench.datasets.scratch import scratch_folder, scratch_in
from contrastbench.datasets.store import carve_validation, open_prepared, write_prepared
from contrastbench.errors import UserError
from contrastbench.params.data import DataParams
from contrastbench.registry import DATASETS
from contrastbench.stages import prepare as prepare_stage

PARAMS = DataParams(validation_fraction=0.2)
SKIP = DataParams(validation_fraction=0.2, on_bad_clip="skip")
AUDIO = [name for name in DATASETS if adapter(name).modality == "audio"]


def test_the_registered_names_are_the_adapters() -> None:
    assert len(AUDIO) == 11
    for name in AUDIO:
        assert adapter(name).name == name
        assert all(archive.digest or archive.url for archive in adapter(name).archives)


def groups_are_apart(splits: dict[str, Split]) -> bool:
    groups = [set(split.columns["group"].tolist()) for name, split in splits.items() if name != "unlabeled"]
    return sum(map(len, groups)) == len(set().union(*groups))


# ---- ESC-50


def esc50_folder(root: Path) -> tuple[Path, pd.DataFrame]:
    """One clip of every class in every fold; the recording 999 lies in folds 4 and 5."""
    rows = []
    for target, category in enumerate(esc50.CLASSES):
        for fold in range(1, 6):
            source = 999 if target == 6 and fold in (4, 5) else 1000 * fold + target
            rows.append((f"{fold}-{source}-A-{target}.wav", fold, target, category, source))
    table = pd.DataFrame(rows, columns=["filename", "fold", "target", "category", "src_file"])
    for number, name in enumerate(table["filename"]):
        write_sound(root / "audio" / name, seed=number)
    (root / "meta").mkdir()
    table.to_csv(root / "meta" / "esc50.csv", index=False)
    return root, table


def test_esc50_splits_by_recording(tmp_path: Path) -> None:
    folder, _ = esc50_folder(tmp_path)
    table = esc50.clip_table(folder, clips=250)
    assert table["split"].value_counts().to_dict() == {"train": 150, "validation": 49, "test": 51}
    assert (table.groupby("group")["split"].nunique() == 1).all()
    roles = table.groupby("role")["y"].nunique().to_dict()
    assert roles == {esc50.BASE: 35, esc50.VALIDATION: 5, esc50.NOVEL: 10}
    splits = read_splits(table, PARAMS)
    assert groups_are_apart(splits)
    assert set(splits["test"].columns) == {"offsets", "fold", "group", "role"}
    assert splits["train"].count == 150 and splits["train"].x.dtype == np.int16 and len(splits["train"].x) == 150 * 800


def test_base_clips_share_no_recording_with_other_classes() -> None:
    table = pd.DataFrame({"group": [7, 7, 8, 9, 8], "role": [esc50.BASE, esc50.VALIDATION, 0, esc50.NOVEL, 0]})
    assert speechcommands_esc50.base_clips(table).index.tolist() == [2, 4]


def test_esc50_refuses_what_is_not_official(tmp_path: Path) -> None:
    folder, table = esc50_folder(tmp_path)
    with pytest.raises(UserError, match="must list 2000 clips"):
        esc50.clip_table(folder)
    (folder / "audio" / table["filename"][0]).unlink()
    with pytest.raises(UserError, match=r"1 clips of esc50.csv are missing"):
        esc50.clip_table(folder, clips=250)
    write_sound(folder / "audio" / table["filename"][0])
    table.assign(category="dog").to_csv(folder / "meta" / "esc50.csv", index=False)
    with pytest.raises(UserError, match=r"classes of esc50.csv"):
        esc50.clip_table(folder, clips=250)
    table.assign(fold=table["fold"].replace(5, 6)).to_csv(folder / "meta" / "esc50.csv", index=False)
    with pytest.raises(UserError, match="as many of each class in each of 5 folds"):
        esc50.clip_table(folder, clips=250)
    (folder / "meta" / "esc50.csv").write_text("something,else\n1,2\n")
    with pytest.raises(UserError, match="has no column 'filename'"):
        esc50.clip_table(folder, clips=250)


def test_a_known_packing_is_verified_and_an_unknown_archive_is_read_by_rules(tmp_path: Path) -> None:
    mirror, raw = tmp_path / "mirror", tmp_path / "raw"
    mirror.mkdir()
    (mirror / "esc50_16k_opus32.zip").write_bytes(b"truncated")
    with pytest.raises(UserError, match="wrong file \\(sha256"):
        fetch(esc50.ADAPTER, raw, mirror)
    assert not (raw / "esc50_16k_opus32.zip").exists()
    (mirror / "esc50_16k_opus32.zip").unlink()
    folder, _ = esc50_folder(tmp_path / "made")
    with zipfile.ZipFile(mirror / "ESC-50-master.zip", "w") as zipped:
        for path in sorted(folder.rglob("*.*")):
            zipped.write(path, Path("ESC-50-master") / path.relative_to(folder))
    assert fetch(esc50.ADAPTER, raw, mirror) == [raw / "ESC-50-master.zip"]
    with pytest.raises(UserError, match="must list 2000 clips"):  # unpacked and read, but too small
        esc50.ADAPTER.read(raw, PARAMS)
    (raw / "ESC-50-master.zip").write_bytes((raw / "ESC-50-master.zip").read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot be unpacked"):
        esc50.ADAPTER.read(raw, PARAMS)


def test_nothing_at_hand_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"contains no ESC-50 and no ESC-50-master.zip"):
        esc50.ADAPTER.read(tmp_path, PARAMS)


# ---- bad clips


def test_bad_clips_are_refused_or_left_out(tmp_path: Path) -> None:
    folder, rows = esc50_folder(tmp_path)
    table = esc50.clip_table(folder, clips=250)
    for name in rows["filename"][:4]:
        (folder / "audio" / name).write_bytes(b"RIFF")
    with pytest.raises(UserError, match=r"4 of 250 clips are bad: 1-1000-A-0: cannot be decoded"):
        read_splits(table, PARAMS)
    splits = read_splits(table, SKIP)
    assert splits["train"].count == 147 and splits["validation"].count == 48
    assert [name.split(":")[0] for name in splits["train"].skipped] == ["1-1000-A-0", "2-2000-A-0", "3-3000-A-0"]
    assert len(splits["train"].columns["fold"]) == len(splits["train"].y) == 147  # type: ignore[arg-type]
    assert np.abs(splits["train"].x.reshape(147, 800)).max(axis=1).min() > 1000  # none is silent
    meta = write_prepared(tmp_path / "data", esc50.ADAPTER, splits, "as made")
    assert open_prepared(tmp_path / "data").meta.skipped == meta.skipped
    assert {split: len(names) for split, names in meta.skipped.items()} == {"train": 3, "validation": 1}


# ---- Free Spoken Digits


def fsdd_folder(root: Path, takes: int = 2) -> Path:
    for digit in range(10):
        for speaker in fsdd.SPEAKERS:
            for take in range(takes):
                write_sound(root / "recordings" / f"{digit}_{speaker}_{take}.wav", 400, 8000, seed=take)
    return root


def test_fsdd(tmp_path: Path) -> None:
    table = fsdd.clip_table(fsdd_folder(tmp_path), takes=2)
    assert len(table) == 120 and sorted(table["fold"].unique()) == list(range(6))
    assert (table["y"] == [int(name[0]) for name in table["name"]]).all()
    with pytest.raises(UserError, match="each of 10 digits by each of george"):
        fsdd.clip_table(tmp_path)
    (tmp_path / "recordings" / "3_theo_1.wav").unlink()
    with pytest.raises(UserError, match="each of 10 digits"):
        fsdd.clip_table(tmp_path, takes=2)


def test_a_wrong_sample_rate_is_told(tmp_path: Path) -> None:
    fsdd_folder(tmp_path)
    write_sound(tmp_path / "recordings" / "3_theo_1.wav", 900, 16000)
    table = fsdd.clip_table(tmp_path, takes=2).assign(split="train")
    with pytest.raises(UserError, match="3_theo_1: sample rate 16000 Hz, expected 8000"):
        read_splits(table, PARAMS, rates=(fsdd.RATE,))


# ---- Speech Commands


def test_speech_commands_official_lists(tmp_path: Path) -> None:
    for word in speechcommands.WORDS:
        for speaker in ("0a1b2c3d", "11111111", "22222222"):
            write_sound(tmp_path / word / f"{speaker}_nohash_0.wav")
    (tmp_path / "validation_list.txt").write_text("".join(f"{w}/11111111_nohash_0.wav\n" for w in speechcommands.WORDS))
    (tmp_path / "testing_list.txt").write_text("bed/22222222_nohash_0.wav\n")
    table = speechcommands.clip_table(tmp_path, speechcommands.WORDS)
    assert len(speechcommands.WORDS) == 35 and len(table) == 105
    assert table["speaker"].nunique() == table["group"].nunique() == 3
    split = speechcommands._official_split(tmp_path, table["name"])
    assert split.value_counts().to_dict() == {"train": 69, "validation": 35, "test": 1}
    lists_of_today = table.drop(columns="speaker").assign(split=split)
    with pytest.raises(UserError, match=r"speechcommands: train and test share 1 of the groups .*; the first is 2$"):
        check_groups("speechcommands", read_splits(lists_of_today, PARAMS))
    (tmp_path / "zero").rename(tmp_path / "nil")
    with pytest.raises(UserError, match="34 of 35 word folders"):
        speechcommands.clip_table(tmp_path, speechcommands.WORDS)


# As published, and as packed here: of the category _unknown_ the names begin with the word.
PUBLISHED = {
    "down/022cd682_nohash_0.wav": "022cd682",
    "_unknown_/backward_0c540988_nohash_0.wav": "0c540988",
    "_silence_/1024.wav": "_silence_",
    "down/0c540988_nohash_10.opus": "0c540988",
    "_unknown_/backward_0c540988_nohash_0.wav.opus": "0c540988",
    "_silence_/1024.opus": "_silence_",
}


def which_set(speaker: str) -> str:
    """The publisher's rule, written from Speech Commands' README: sha1 of the name, modulo 2^27, in per cent."""
    percent = int(hashlib.sha1(speaker.encode()).hexdigest(), 16) % 2**27 * 100 / (2**27 - 1)
    return "validation" if percent < 10 else "testing" if percent < 20 else "training"


def test_speech_commands_speakers_of_published_names() -> None:
    assert {name: speechcommands.speaker_of(Path(name)) for name in PUBLISHED} == PUBLISHED
    speakers = {speaker for speaker in PUBLISHED.values() if speaker != "_silence_"}
    assert {which_set(speaker) for speaker in speakers} == {"testing"}  # the publisher's test set has them


@pytest.mark.parametrize("suffix", [".wav", ".opus", ".wav.opus"])
def test_no_published_speaker_lies_in_two_splits(suffix: str, tmp_path: Path) -> None:
    """Every published name of two categories of the test set, as three archives pack them."""
    names = (Path(__file__).parent / "speech_commands_names.txt").read_text(encoding="utf-8").split()
    for name in names:
        path = tmp_path / name.replace(".wav", suffix)
        path.parent.mkdir(exist_ok=True)
        path.touch()
    table = speechcommands.clip_table(tmp_path, ("down", "_unknown_"))
    assert len(table) == len(names) == 814 and table["group"].nunique() == 207
    assert (table.groupby("group")["y"].nunique() == 2).sum() == 128, "most say both, so that a leak would show"
    table["id"] = [re.findall("([0-9a-f]{8})_nohash", path.name)[0] for path in table["path"]]
    table["split"] = table["speaker"].map(speechcommands.split_of_speaker)
    assert set(table["split"]) == {"train", "validation", "test"}
    assert (table.groupby("id")["split"].nunique() == 1).all() and (table.groupby("group")["id"].nunique() == 1).all()
    assert {which_set(speaker) for speaker in table["id"]} == {"testing"}


@pytest.mark.parametrize("suffix", [".wav", ".wav.opus"])
def test_speech_commands_test_set_is_split_by_speaker(suffix: str, tmp_path: Path) -> None:
    speakers = [f"{number:08x}" for number in range(6)]
    for category in speechcommands_test.CATEGORIES:
        for number, speaker in enumerate(speakers):
            word = "backward_" if category == "_unknown_" else ""
            name = f"{number}" if category == "_silence_" else f"{word}{speaker}_nohash_{number}"
            write_sound(tmp_path / category / f"{name}.wav")
            (tmp_path / category / f"{name}.wav").rename(tmp_path / category / f"{name}{suffix}")
    table = speechcommands_test.split_table(tmp_path, at_least=6)
    assert (table.groupby("group")["split"].nunique() == 1).all()
    assert table["group"].nunique() == 6 + 1  # six speakers, each in every category, and the silences
    assert set(table["split"][table["y"] == speechcommands_test.CATEGORIES.index("_silence_")]) == {"train"}
    check_groups("speechcommands-test", read_splits(table, PARAMS))
    with pytest.raises(UserError, match="a category has 6 clips, fewer than 300"):
        speechcommands_test.split_table(tmp_path)
    shares = pd.Series([speechcommands.split_of_speaker(f"{n:08x}") for n in range(3000)]).value_counts(normalize=True)
    assert abs(shares["train"] - 0.7) < 0.03 and abs(shares["test"] - 0.2) < 0.03


# ---- FSDKaggle2018, NSynth, VoxCeleb1, AudioSet


def test_fsdkaggle2018(tmp_path: Path) -> None:
    assert len(fsdkaggle2018.CLASSES) == 41 and set(fsdkaggle2018.NOVEL_CLASSES) < set(fsdkaggle2018.CLASSES)
    folders = [tmp_path / part for part in fsdkaggle2018.PARTS]
    for (split, name), folder in zip(fsdkaggle2018.TABLES.items(), folders, strict=False):
        rows = [(f"{split}{n}.wav", label, n) for n, label in enumerate(fsdkaggle2018.CLASSES)]
        for file, _, number in rows:
            write_sound(folder / file, 2205, 44100, seed=number)
        folders[2].mkdir(exist_ok=True)
        pd.DataFrame(rows, columns=["fname", "label", "freesound_id"]).to_csv(folders[2] / name, index=False)
    counts = {"train": 41, "test": 41}
    table = fsdkaggle2018.clip_table(folders, counts)
    assert len(table) == 82 and table.groupby("role")["y"].nunique().to_dict() == {0: 34, 2: 7}
    assert len(read_splits(table, PARAMS, rates=(44100,))["test"].x) == 41 * 800
    with pytest.raises(UserError, match="must list 9473 clips"):
        fsdkaggle2018.clip_table(folders, fsdkaggle2018.COUNTS)
    (folders[0] / "train7.wav").unlink()
    with pytest.raises(UserError, match=r"clips of train_post_competition.csv are missing"):
        fsdkaggle2018.clip_table(folders, counts)


def test_nsynth(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in nsynth.FOLDERS.values()]
    for number, folder in enumerate(folders):
        notes = {}
        for instrument in range(100):
            family = instrument % 11
            for key in (60, 72):
                name = f"{nsynth.FAMILIES[family]}_acoustic_{instrument:03d}-{key:03d}-100"
                notes[name] = {"instrument_family": family, "instrument": 100 * number + instrument, "pitch": key}
                write_sound(folder / "audio" / f"{name}.wav")
        (folder / "examples.json").write_text(json.dumps(notes))
    counts = dict.fromkeys(nsynth.FOLDERS, 200)
    table = nsynth.clip_table(folders, counts)
    assert (table.groupby("group")["split"].nunique() == 1).all()
    shares = table["split"][table["group"] < 100].value_counts()
    assert shares.keys().tolist() == ["train", "validation"] and 0 < shares["validation"] <= 0.15 * 200
    splits = read_splits(table, PARAMS)
    assert set(splits["test"].columns["key"]) == {60, 72} and splits["test"].count == 200
    assert sorted(set(splits["test"].y.tolist())) == list(range(11))  # type: ignore[union-attr]
    with pytest.raises(UserError, match="train must contain 289205 notes"):
        nsynth.clip_table(folders, nsynth.COUNTS)
    (folders[1] / "examples.json").write_text("{}")
    with pytest.raises(UserError, match=r"test: examples\.json is not the official one"):
        nsynth.clip_table(folders, counts)


def test_voxceleb1_from_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder; put VoxCeleb1's wav/"):
        voxceleb1.ADAPTER.read(tmp_path, PARAMS)
    files = ["id10001/aaa/00001.wav", "id10001/bbb/00001.wav", "id11251/ccc/00001.wav"]
    for file in files:
        write_sound(tmp_path / "wav" / file)
    lines = [f"{number} {file}\n" for number, file in enumerate(files, start=1)]
    (tmp_path / "iden_split.txt").write_text("".join(lines))
    splits = voxceleb1.ADAPTER.read(tmp_path, PARAMS)
    labels = {name: split.y.tolist() for name, split in splits.items() if split.y is not None}
    assert labels == {"train": [0], "validation": [0], "test": [1250]} and groups_are_apart(splits)
    (tmp_path / "iden_split.txt").write_text("4 id10001/aaa/00001.wav\n")
    with pytest.raises(UserError, match="every line of iden_split"):
        voxceleb1.ADAPTER.read(tmp_path, PARAMS)
    (tmp_path / "iden_split.txt").write_text(lines[0] + "2 id10001/bbb/00009.wav\n" + lines[2])
    with pytest.raises(UserError, match="00009"):
        voxceleb1.ADAPTER.read(tmp_path, PARAMS)


def test_audioset_from_a_folder_lists_what_is_missing(tmp_path: Path) -> None:
    header = "# Segments csv created Sun Mar  5 10:54:25 2017\n# num_ytids=300\n# YTID, start_seconds, end_seconds\n"
    ids = [f"-0RWZT-{n:04d}" for n in range(300)]
    lines = [f'{video}, {n}.000, {n + 10}.000, "/m/03fwl,/m/04rlf"\n' for n, video in enumerate(ids)]
    (tmp_path / audioset20k.LISTING).write_text(header + "".join(lines))
    with pytest.raises(UserError, match="no such folder; put AudioSet's clips there"):
        audioset20k.ADAPTER.read(tmp_path, PARAMS)
    (tmp_path / "clips").mkdir()
    with pytest.raises(UserError, match=r"contains none of balanced_train_segments\.csv's 300 clips"):
        audioset20k.ADAPTER.read(tmp_path, PARAMS)
    forms = ["{id}", "Y{id}", "{id}_{s}_{e}", "{id}_{ms}"]
    for n, video in enumerate(ids[:290]):
        name = forms[n % 4].format(id=video, s=n, e=n + 10, ms=1000 * n)
        write_sound(tmp_path / "clips" / f"{name}.wav")
    (tmp_path / "clips" / f"{ids[290]}.m4a").write_bytes(b"no sound that libsndfile reads")
    splits = audioset20k.ADAPTER.read(tmp_path, PARAMS)
    assert sum(split.count for split in splits.values()) == 290
    assert all(split.y is None for split in splits.values()) and splits["train"].count > 270
    first, *others = splits["train"].skipped
    assert first == f"{ids[290]}: {ids[290]}.m4a is in no format that is read; convert it to FLAC or WAV"
    assert others == [f"{video}: no such clip" for video in ids[291:]]


# ---- what prepare refuses, whichever the data set


def test_prepare_refuses_a_speaker_in_two_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def speakers(*numbers: int) -> Split:
        return sound_split([noise(800, n) for n in numbers], [n % 2 for n in numbers], group=np.array(numbers))

    def prepare_with(**splits: Split) -> None:
        source = dataclasses.replace(fsdd.ADAPTER, read=lambda raw, params: splits, archives=())
        monkeypatch.setattr(prepare_stage, "adapter", lambda name: source)
        prepared_data(tmp_path, "fsdd", 0.2)

    with pytest.raises(UserError, match=r"fsdd: validation and test share 2 of the groups .* the first is 3$"):
        prepare_with(train=speakers(1, 2), validation=speakers(3, 3, 4, 5), test=speakers(3, 5, 6))
    assert not (tmp_path / "data/prepared/fsdd").exists()
    unlabeled = Split(np.zeros(800, np.int16), None, {"offsets": np.array([0, 800])})
    prepare_with(train=speakers(1, 1, 2), validation=speakers(3), test=speakers(4), unlabeled=unlabeled)
    assert (tmp_path / "data/prepared/fsdd/meta.json").is_file()


def test_nothing_is_written_into_a_raw_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be read-only. What is unpacked and decoded lies beside the prepared data meanwhile, and goes."""
    raw, prepared = tmp_path / "data/raw/fsdd", tmp_path / "data/prepared"
    raw.mkdir(parents=True)
    archive = dataclasses.replace(fsdd.ARCHIVE, name="clips.zip")
    with zipfile.ZipFile(raw / archive.name, "w") as zipped:
        for number in range(9):
            write_sound(tmp_path / "clip.wav", seed=number)
            zipped.write(tmp_path / "clip.wav", f"{number}.wav")
    places = []

    def read(raw: Path, params: DataParams) -> dict[str, Split]:
        with opened(raw, archive) as folder:
            places.append(folder)
            paths = sound_paths(folder)
            table = pd.DataFrame({"name": [path.stem for path in paths], "path": paths})
            table["y"] = [int(path.stem) % 2 for path in paths]
            table["split"] = ["train", "validation", "test"] * 3
            return read_splits(table, params)

    def spool(dir: Path) -> IO[bytes]:
        places.append(dir)
        return TemporaryFile(dir=dir)

    monkeypatch.setattr(sound_files, "TemporaryFile", spool)
    monkeypatch.setattr(
        prepare_stage, "adapter", lambda _: dataclasses.replace(fsdd.ADAPTER, read=read, archives=(), unpacked=())
    )
    prepared_data(tmp_path, "fsdd", 0.2)
    assert len(places) == 4 and {place.parents[1] for place in places} == {Path("data/prepared")}
    assert list(raw.iterdir()) == [raw / archive.name] and list(prepared.iterdir()) == [prepared / "fsdd"]


def test_a_place_where_nothing_can_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = pytest.raises(UserError, match="file/prepared: cannot be written: Not a directory")
    with refused, scratch_in(tmp_path / "file" / "prepared"), scratch_folder():
        pass
    full = pytest.raises(UserError, match="cannot be written: No space left on device")
    with full, scratch_in(tmp_path), scratch_folder():
        raise OSError(errno.ENOSPC, "No space left on device")


# ---- splitting off validation


def test_validation_takes_whole_groups_of_every_class() -> None:
    y = np.repeat(np.arange(3), 40)
    group = np.arange(120) // 4  # ten groups of four clips a class
    train = sound_split([noise(10 + n, n) for n in range(120)], y.tolist(), group=group)
    kept, held = carve_validation(train, 0.2)
    assert groups_are_apart({"train": kept, "validation": held})
    assert held.y is not None and np.bincount(held.y).tolist() == [8, 8, 8]
    which = np.flatnonzero(np.isin(group, held.columns["group"]))
    expected = np.concatenate([train.x[train.columns["offsets"][n] : train.columns["offsets"][n + 1]] for n in which])
    assert np.array_equal(held.x, expected) and held.columns["offsets"][-1] == len(expected)
    again, _ = carve_validation(train, 0.2)
    assert np.array_equal(again.x, kept.x)


def test_validation_never_splits_a_speaker_of_all_classes_nor_takes_a_classs_last_group() -> None:
    speakers = np.tile(np.arange(6), 10)
    train = Split(np.zeros((60, 2)), np.repeat(np.arange(10), 6), {"group": speakers})
    kept, held = carve_validation(train, 0.2)
    assert groups_are_apart({"train": kept, "validation": held}) and held.count == 10
    one_each = Split(np.zeros((4, 2)), np.array([0, 0, 1, 1]), {"group": np.array([5, 5, 6, 7])})
    kept, held = carve_validation(one_each, 0.4)
    assert set(kept.y.tolist()) == {0, 1} and held.count == 1  # type: ignore[union-attr]


# ---- embedded instruments

SAMPLES = ["44a29a94f28b", "e3a5612b5a69", "c1220caf0b1e"]  # sha256 of train, validation, test


@pytest.fixture(scope="module")
def notes() -> dict[str, Split]:
    return instruments.ADAPTER.read(Path(), PARAMS)


def test_instruments_are_split_by_program(notes: dict[str, Split]) -> None:
    assert {name: split.count for name, split in notes.items()} == {"train": 1404, "validation": 198, "test": 414}
    assert groups_are_apart(notes)
    unheard = {"train": set(), "validation": {10, 11, 12}, "test": {11}}  # families whose programs share recordings
    for name, split in notes.items():
        assert split.y is not None and np.array_equal(split.y, split.columns["group"] // 8)
        assert set(split.y) == set(range(14)) - unheard[name]
        waves = split.x.reshape(split.count, -1)
        assert waves.shape[1] == 20_800
        assert np.abs(waves).max(axis=1).min() > 30  # no note is silent


def test_instruments_of_two_splits_share_no_recording(notes: dict[str, Split]) -> None:
    """Counted from the SoundFont's own positions: no sample is played in two splits, nor by two tested programs."""
    font = instruments.SoundFont(instruments.soundfont_path())
    player = np.full(len(font.samples), -1)  # the split or, of those tested, the program that plays a sample
    for name, split in notes.items():
        for program in set(split.columns["group"].tolist()):
            here = 1000 if name == "train" else program
            for key, velocity in itertools.product(instruments.KEYS, instruments.VELOCITIES):
                for header, _ in font.voices(program, key, velocity):
                    assert set(player[header.start : header.end].tolist()) <= {-1, here}
                    player[header.start : header.end] = here
    recordings = [instruments.recordings_of(font, program) for program in range(112)]
    sharing = {a for a, b in itertools.permutations(range(112), 2) if recordings[a] & recordings[b]}
    assert len(sharing) == 57 and sharing < set(notes["train"].columns["group"].tolist())


def test_programs_that_share_a_recording_train() -> None:
    alone: list[set[int]] = [{100 + program} for program in range(16)]
    every = instruments.splits_of(alone)
    assert every == (["train"] * 5 + ["test", "validation", "test"]) * 2
    alone[7], alone[8] = {7, 9}, {9}  # across two families
    assert instruments.splits_of(alone) == ["train"] * 4 + ["test", "validation", "test", "train"] + every[8:]
    one_left = [{1}] * 7 + [{2}]
    assert instruments.splits_of(one_left) == ["train"] * 7 + ["test"]


def test_instruments_are_deterministic_and_sound_at_their_pitch(notes: dict[str, Split]) -> None:
    font = instruments.SoundFont(instruments.soundfont_path())
    again = instruments.render_programs(font, [0])
    first = notes["train"].x.reshape(1404, -1)[:18]
    assert notes["train"].columns["group"][:18].tolist() == [0] * 18
    scaled = again * (np.abs(first).max() / np.abs(again).max())
    assert np.abs(scaled - first).max() < 2
    spectrum = np.abs(np.fft.rfft(again[10] * np.hanning(again.shape[1])))  # key 63 of the piano, velocity 60
    hertz = spectrum.argmax() * 16_000 / again.shape[1]
    assert notes["train"].columns["key"][10] == 63
    assert min(abs(1200 * np.log2(hertz / (harmonic * 311.13))) for harmonic in (1, 2, 3)) < 20  # cents


def test_instruments_are_the_same_samples_on_every_processor(notes: dict[str, Split]) -> None:
    """numpy takes powers of float32 otherwise where there is AVX-512; every committed row is of these samples."""
    code = (
        "import hashlib; from pathlib import Path; from contrastbench.datasets import instruments\n"
        "from contrastbench.params.data import DataParams\n"
        "splits = instruments.ADAPTER.read(Path(), DataParams(validation_fraction=0.1))\n"
        "print(*(hashlib.sha256(splits[name].x).hexdigest()[:12] for name in ('train', 'validation', 'test')))"
    )
    less = os.environ | {"NPY_DISABLE_CPU_FEATURES": "AVX512_ICL X86_V4 X86_V3"}
    run = subprocess.run([sys.executable, "-c", code], env=less, capture_output=True, text=True, check=True)
    assert run.stdout.split() == [hashlib.sha256(notes[name].x).hexdigest()[:12] for name in notes]
    assert run.stdout.split() == SAMPLES


def test_another_soundfont_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instruments, "SHA256", "0" * 64)
    with pytest.raises(UserError, match="wrong file"):
        instruments.ADAPTER.read(tmp_path, PARAMS)
    (tmp_path / "x.sf2").write_bytes(b"RIFFxxxxjunk")
    with pytest.raises(UserError, match="not a SoundFont 2 file"):
        instruments.SoundFont(tmp_path / "x.sf2")


# ---- real archives


@pytest.mark.realdata
def test_real_spoken_digits(real_data: Path, tmp_path: Path) -> None:
    if not (real_data / "fsdd_8k_flac.zip").is_file():
        pytest.skip(f"no fsdd_8k_flac.zip in {real_data}")
    data = prepared_data(tmp_path, "fsdd", 0.2, mirror=real_data)
    counts = {split: facts.count for split, facts in data.meta.splits.items()}
    assert counts == {"train": 2000, "validation": 500, "test": 500}
    for split in counts:
        y = data.y(split)
        assert y is not None and np.bincount(y).tolist() == [counts[split] // 10] * 10
    seconds = np.diff(data.column("train", "offsets")) / 16_000
    assert 0.1 < seconds.min() < seconds.mean() < 0.6


@pytest.mark.realdata
def test_real_speakers_are_those_of_the_publishers_test_set(real_data: Path) -> None:
    """Every id that is read from a name is one that the publisher's rule puts into the test set."""
    packing = real_data / speechcommands_test.ARCHIVE.alternatives[0].name
    if not packing.is_file():
        pytest.skip(f"no {packing.name} in {real_data}")
    with zipfile.ZipFile(packing) as zipped:
        names = [Path(name) for name in zipped.namelist() if name.endswith(".opus")]
    speakers = {speechcommands.speaker_of(name) for name in names} - {"_silence_"}
    assert len(speakers) == 239 and {which_set(speaker) for speaker in speakers} == {"testing"}


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "module", "table", "counts"),
    [
        ("esc50", esc50, esc50.clip_table, {"train": 1200, "validation": 398, "test": 402}),
        (
            "speechcommands-test",
            speechcommands_test,
            speechcommands_test.split_table,
            {"train": 3153, "validation": 635, "test": 1102},
        ),
    ],
)
def test_real_archives(name: str, module, table, counts: dict[str, int], real_data: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Every name and label, the samples of 20 clips of each split."""
    packing = module.ARCHIVE.alternatives[0].name
    if not (real_data / packing).is_file():
        pytest.skip(f"no {packing} in {real_data}")
    assert fetch(adapter(name), tmp_path, real_data) == [tmp_path / packing]
    with opened(tmp_path, module.ARCHIVE, module.FOLDER) as folder:
        clips = table(folder)
        assert clips["split"].value_counts().to_dict() == counts
        assert (clips.groupby("group")["split"].nunique() == 1).all()
        assert set(clips["y"]) == set(range(len(adapter(name).classes)))
        splits = read_splits(clips.groupby("split").head(20), PARAMS)
    length = 80_000 if name == "esc50" else 16_000
    assert all(set(np.diff(split.columns["offsets"]).tolist()) == {length} for split in splits.values())
