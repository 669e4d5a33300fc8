"""FSDKaggle2018: 11,073 Freesound clips of 41 classes, 0.3 to 30 s, with the labels published after the competition.

No hash of the archives could be found; the reader checks the contents instead: names, labels and counts.
"""

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd

from contrastbench.datasets.base import Adapter, Archive, Split
from contrastbench.datasets.clips import by_stem, expect, find_file, opened, read_splits, read_table, sound_paths
from contrastbench.params.data import DataParams

URL = "https://zenodo.org/records/2552860/files"
PARTS = ("FSDKaggle2018.audio_train", "FSDKaggle2018.audio_test", "FSDKaggle2018.meta")
ARCHIVES = tuple(Archive(url=f"{URL}/{part}.zip?download=1", name=f"{part}.zip") for part in PARTS)
NAMES = """
Acoustic_guitar Applause Bark Bass_drum Burping_or_eructation Bus Cello Chime Clarinet Computer_keyboard Cough
Cowbell Double_bass Drawer_open_or_close Electric_piano Fart Finger_snapping Fireworks Flute Glockenspiel Gong
Gunshot_or_gunfire Harmonica Hi-hat Keys_jangling Knock Laughter Meow Microwave_oven Oboe Saxophone Scissors Shatter
Snare_drum Squeak Tambourine Tearing Telephone Trumpet Violin_or_fiddle Writing
"""
CLASSES = tuple(NAMES.split())
# MetaAudio's test classes (specification of uaMix-MAE, section 3a); its validation classes are not known here.
NOVEL_CLASSES = ("Knock", "Scissors", "Shatter", "Finger_snapping", "Bark", "Laughter", "Keys_jangling")
BASE, NOVEL = 0, 2  # values of the column ``role``, as in esc50
COUNTS = {"train": 9473, "test": 1600}
TABLES = {"train": "train_post_competition.csv", "test": "test_post_competition_scoring_clips.csv"}


def clip_table(folders: list[Path], counts: dict[str, int]) -> pd.DataFrame:
    """One row per clip: name, path, y, group (the Freesound recording), role, split; ``folders`` as in PARTS."""
    numbers = {name: number for number, name in enumerate(CLASSES)}
    parts = []
    for split, folder in zip(TABLES, folders[:2], strict=True):
        table = read_table(find_file(folders[2], TABLES[split]), ("fname", "label", "freesound_id"))
        paths = by_stem(sound_paths(folder))
        stems = table["fname"].str.removesuffix(".wav")
        expect(stems.isin(paths).all(), "fsdkaggle2018", f"clips of {TABLES[split]} are missing")
        expect(len(table) == counts[split], "fsdkaggle2018", f"{TABLES[split]} must list {counts[split]} clips")
        expect(table["label"].isin(numbers).all(), "fsdkaggle2018", f"{TABLES[split]} names an unknown class")
        clip = pd.DataFrame({"name": stems, "path": stems.map(paths), "y": table["label"].map(numbers)})
        clip["group"] = table["freesound_id"].astype(np.int64)
        clip["role"] = np.where(table["label"].isin(NOVEL_CLASSES), NOVEL, BASE)
        clip["split"] = split
        parts.append(clip)
    return pd.concat(parts, ignore_index=True)


def _read(raw: Path, params: DataParams) -> dict[str, Split]:
    with ExitStack() as stack:
        pairs = zip(ARCHIVES, PARTS, strict=True)
        folders = [stack.enter_context(opened(raw, archive, part)) for archive, part in pairs]
        return read_splits(clip_table(folders, COUNTS), params, rates=(44100,))


ADAPTER = Adapter(
    name="fsdkaggle2018",
    modality="audio",
    classes=CLASSES,
    licence="CC BY 4.0 (clips: CC0, CC BY, CC Sampling+ one by one), Fonseca et al. (2018)",
    source="https://zenodo.org/records/2552860",
    split_rule="official train (9,473) and test (1,600); column role: MetaAudio's classes (0 base, 2 novel)",
    read=_read,
    archives=ARCHIVES,
    unpacked=PARTS,
)
