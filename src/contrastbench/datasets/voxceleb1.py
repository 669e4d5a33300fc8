"""VoxCeleb1 from your own folder: it is only available on request, so nothing is downloaded and no hash is pinned.

data/raw/voxceleb1/wav/ID/VIDEO/NUMBER.wav and data/raw/voxceleb1/iden_split.txt, as published.
"""

from pathlib import Path

import pandas as pd

from contrastbench.datasets.base import Adapter
from contrastbench.datasets.clips import expect, find_file, numbered, read_splits
from contrastbench.errors import UserError

SPEAKERS = tuple(f"id{number}" for number in range(10001, 11252))
SPLITS = {1: "train", 2: "validation", 3: "test"}


def clip_table(raw: Path) -> pd.DataFrame:
    """One row per utterance: name (ID/VIDEO/NUMBER), path, y (speaker), group (video), split."""
    if not (raw / "wav").is_dir():
        raise UserError(f"{raw / 'wav'}: no such folder; put VoxCeleb1's wav/ and iden_split.txt into {raw}")
    listing = pd.read_csv(find_file(raw, "iden_split.txt"), sep=" ", names=["number", "file"])
    parts = listing["file"].astype(str).str.extract(r"^(id\d+)/([^/]+)/[^/]+\.wav$")
    right = parts[0].isin(SPEAKERS).all() and listing["number"].isin(SPLITS).all()
    expect(bool(right), "voxceleb1", "every line of iden_split.txt must read '1, 2 or 3' and 'ID/VIDEO/NUMBER.wav'")
    table = pd.DataFrame({"name": listing["file"], "path": [raw / "wav" / file for file in listing["file"]]})
    table["y"] = parts[0].str.removeprefix("id").astype(int) - 10001
    table["group"] = numbered(parts[0] + "/" + parts[1])
    table["split"] = listing["number"].map(SPLITS)
    return table


ADAPTER = Adapter(
    name="voxceleb1",
    modality="audio",
    classes=SPEAKERS,
    licence="CC BY 4.0 (annotations), Nagrani et al. (2017); audio on request",
    source="https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox1.html",
    split_rule="official identification split (iden_split.txt); column group: video",
    read=lambda raw, params: read_splits(clip_table(raw), params, rates=(16_000,)),
)
