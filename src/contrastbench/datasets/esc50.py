"""ESC-50: 2,000 environmental sounds of 5 s, 50 classes, five official folds.

GitHub generates the official archive from the branch ``master``, and its bytes may change: no hash can be pinned.
The reader checks the contents instead: the names, folds and classes of the official esc50.csv, all clips present.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from contrastbench.datasets.base import Adapter, Archive, Split
from contrastbench.datasets.clips import by_stem, expect, find_file, opened, read_splits, read_table, sound_paths
from contrastbench.params.data import DataParams

ARCHIVE = Archive(
    url="https://github.com/karolpiczak/ESC-50/archive/master.zip",
    name="ESC-50-master.zip",
    alternatives=(
        Archive(
            url=None,
            name="esc50_16k_opus32.zip",  # all clips at 16 kHz mono, Opus 32 kbit/s, with the official esc50.csv
            digest="4eab88addc345dad275ec09acf484a767d9316199244f4a4c9e5d3e8f06bbfa2",
        ),
    ),
)
FOLDER = "ESC-50"
CLIPS = 2000
FOLDS = (1, 2, 3, 4, 5)
NAMES = """
dog rooster pig cow frog cat hen insects sheep crow rain sea_waves crackling_fire crickets chirping_birds
water_drops wind pouring_water toilet_flush thunderstorm crying_baby sneezing clapping breathing coughing footsteps
laughing brushing_teeth snoring drinking_sipping door_wood_knock mouse_click keyboard_typing door_wood_creaks
can_opening washing_machine vacuum_cleaner clock_alarm clock_tick glass_breaking helicopter chainsaw siren car_horn
engine train church_bells airplane fireworks hand_saw
"""
CLASSES = tuple(NAMES.split())
# MetaAudio's class-disjoint split (specification of uaMix-MAE, section 3a); the other 35 classes are its base.
VALIDATION_CLASSES = ("crackling_fire", "clock_alarm", "coughing", "hen", "breathing")
NOVEL_CLASSES = (
    "vacuum_cleaner",
    "sneezing",
    "thunderstorm",
    "crow",
    "glass_breaking",
    "church_bells",
    "cow",
    "dog",
    "airplane",
    "engine",
)
BASE, VALIDATION, NOVEL = 0, 1, 2  # values of the column ``role``
ROLES = np.array([NOVEL if c in NOVEL_CLASSES else VALIDATION if c in VALIDATION_CLASSES else BASE for c in CLASSES])


def clip_table(folder: Path, clips: int = CLIPS) -> pd.DataFrame:
    """One row per clip: name, path, y, fold, group (the Freesound recording), role (MetaAudio's), split.

    The split is by recording: folds 1 to 3 train, 4 validates, 5 tests, and the four recordings that the official
    folds divide (131943, 134049, 209698, 234879) go with their highest fold.
    """
    table = read_table(find_file(folder, "esc50.csv"), ("filename", "fold", "target", "category", "src_file"))
    paths = by_stem(sound_paths(folder))
    stems = table["filename"].str.removesuffix(".wav")
    missing = sorted(set(stems) - set(paths))
    expect(not missing, "esc50", f"{len(missing)} clips of esc50.csv are missing, the first is {missing[:1]}")
    right = table["target"].between(0, len(CLASSES) - 1).all() and all(
        CLASSES[target] == category for target, category in zip(table["target"], table["category"], strict=True)
    )
    expect(right, "esc50", "the classes of esc50.csv are not the official 50")
    counts = pd.crosstab(table["target"], table["fold"])
    even = tuple(counts.columns) == FOLDS and (counts == clips // (len(CLASSES) * len(FOLDS))).all(axis=None)
    expect(
        bool(even), "esc50", f"esc50.csv must list {clips} clips, as many of each class in each of {len(FOLDS)} folds"
    )
    clip = pd.DataFrame({"name": stems, "path": stems.map(paths), "y": table["target"], "fold": table["fold"]})
    clip["group"] = table["src_file"].astype(np.int64)
    clip["role"] = ROLES[clip["y"]]
    highest = clip.groupby("group")["fold"].transform("max")
    clip["split"] = highest.map({1: "train", 2: "train", 3: "train", 4: "validation", 5: "test"})
    return clip


def _read(raw: Path, params: DataParams) -> dict[str, Split]:
    with opened(raw, ARCHIVE, FOLDER) as folder:
        return read_splits(clip_table(folder), params, rates=(44100, 48000, 16000))


ADAPTER = Adapter(
    name="esc50",
    modality="audio",
    classes=CLASSES,
    licence="CC BY-NC 3.0 (ESC-10 part CC BY 3.0), Piczak (2015), credits per clip in its LICENSE",
    source="https://github.com/karolpiczak/ESC-50",
    split_rule="folds 1-3 train, 4 validates, 5 tests; a recording in two folds goes with the higher; "
    "column fold: official folds, column role: MetaAudio's classes (0 base, 1 validation, 2 novel)",
    read=_read,
    archives=(ARCHIVE,),
    unpacked=(FOLDER,),
)
