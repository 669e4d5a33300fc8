"""The official test set of Speech Commands v0.02 (4,890 clips, 12 categories), split again by speaker.

A small real data set; its rows are not comparable with those of the full Speech Commands. No hash is published for
the archive; the reader checks that every category has at least 300 clips.
"""

from pathlib import Path

import pandas as pd

from contrastbench.datasets.base import Adapter, Archive, Split
from contrastbench.datasets.clips import expect, opened, read_splits
from contrastbench.datasets.speechcommands import LICENCE, RATE, clip_table, split_of_speaker
from contrastbench.params.data import DataParams

ARCHIVE = Archive(
    url="https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_test_set_v0.02.tar.gz",
    name="speech_commands_test_set_v0.02.tar.gz",
    alternatives=(
        Archive(
            url=None,
            name="speech_commands_v0.02_test_opus24.zip",  # the same clips, Opus 24 kbit/s
            digest="4736215ccfb5b465acd908b00be3cff5f21717d5b4de16d3585cc9c26ccbb2e9",
        ),
    ),
)
FOLDER = "speech_commands_test_set_v0.02"
CATEGORIES = ("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes", "_unknown_", "_silence_")
AT_LEAST = 300
SPLIT_RULE = (
    "of the official test set, by the sha256 of the speaker: 70 % train, 10 % validate, 20 % test; all silences train"
)


def split_table(folder: Path, at_least: int = AT_LEAST) -> pd.DataFrame:
    """One row per clip: name, path, y, group (speaker; all silences are one), split."""
    table = clip_table(folder, CATEGORIES)
    fewest = int(table["y"].value_counts().min())
    expect(fewest >= at_least, "speechcommands-test", f"a category has {fewest} clips, fewer than {at_least}")
    table["split"] = table["speaker"].map(split_of_speaker)
    return table.drop(columns="speaker")


def _read(raw: Path, params: DataParams) -> dict[str, Split]:
    with opened(raw, ARCHIVE, FOLDER) as folder:
        return read_splits(split_table(folder), params, rates=(RATE, 48000))


ADAPTER = Adapter(
    name="speechcommands-test",
    modality="audio",
    classes=CATEGORIES,
    licence=LICENCE,
    source="https://www.tensorflow.org/datasets/catalog/speech_commands (v0.02, test set)",
    split_rule=SPLIT_RULE,
    read=_read,
    archives=(ARCHIVE,),
    unpacked=(FOLDER,),
)
