"""Free Spoken Digit Dataset: 3,000 recordings of ten digits by six speakers, 8 kHz; split by speaker.

GitHub generates the official archive from the tag v1.0.10; no hash is published for it. The reader checks the
contents instead: every digit by every speaker 50 times.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from contrastbench.datasets.base import Adapter, Archive, Split
from contrastbench.datasets.clips import expect, numbered, opened, read_splits, sound_paths
from contrastbench.params.data import DataParams

ARCHIVE = Archive(
    url="https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.zip",
    name="free-spoken-digit-dataset-1.0.10.zip",
    alternatives=(
        Archive(
            url=None,
            name="fsdd_8k_flac.zip",  # the same recordings, FLAC, sample for sample
            digest="c49a9beccef25c88647c78e3b3ecaf16ea2aed204dba979ddb317eeb7a763942",
        ),
    ),
)
FOLDER = "free-spoken-digit-dataset"
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
DIGITS = tuple("0123456789")
TAKES = 50
RATE = 8000
NAME = re.compile(r"(\d)_([a-z]+)_(\d+)$")  # DIGIT_SPEAKER_TAKE
LICENCE = "CC BY-SA 4.0, Jackson et al."
SOURCE = "https://github.com/Jakobovski/free-spoken-digit-dataset (v1.0.10)"


def clip_table(folder: Path, takes: int = TAKES) -> pd.DataFrame:
    """One row per recording: name, path, y (digit), group and fold (speaker, 0 to 5), take."""
    rows = [(path, *match.groups()) for path in sound_paths(folder) if (match := NAME.match(path.stem))]
    table = pd.DataFrame(rows, columns=["path", "digit", "speaker", "take"])
    counts = pd.crosstab(table["digit"], table["speaker"])
    right = tuple(counts.index) == DIGITS and tuple(counts.columns) == SPEAKERS and (counts == takes).all(axis=None)
    expect(bool(right), "fsdd", f"each of 10 digits by each of {', '.join(SPEAKERS)} {takes} times, in recordings/")
    clip = pd.DataFrame({"name": [path.stem for path in table["path"]], "path": table["path"]})
    clip["y"] = table["digit"].astype(np.int64)
    clip["group"] = clip["fold"] = numbered(table["speaker"])
    clip["take"] = table["take"].astype(np.int64)
    return clip


def _read(raw: Path, params: DataParams) -> dict[str, Split]:
    with opened(raw, ARCHIVE, FOLDER) as folder:
        clip = clip_table(folder)
        clip["split"] = clip["group"].map({4: "validation", 5: "test"}).fillna("train")
        return read_splits(clip, params, rates=(RATE,))


ADAPTER = Adapter(
    name="fsdd",
    modality="audio",
    classes=DIGITS,
    licence=LICENCE,
    source=SOURCE,
    split_rule="by speaker: theo validates, yweweler tests, the other four train; column fold: the speaker",
    read=_read,
    archives=(ARCHIVE,),
    unpacked=(FOLDER,),
)
