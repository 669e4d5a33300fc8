"""Free Spoken Digit Dataset in its official split: takes 0 to 4 of every digit and speaker test."""

from pathlib import Path

from contrastbench.datasets.base import Adapter, Split
from contrastbench.datasets.clips import opened, read_splits
from contrastbench.datasets.fsdd import ARCHIVE, DIGITS, FOLDER, LICENCE, RATE, SOURCE, clip_table
from contrastbench.params.data import DataParams

TEST_TAKES, VALIDATION_TAKES = 5, 5


def _read(raw: Path, params: DataParams) -> dict[str, Split]:
    with opened(raw, ARCHIVE, FOLDER) as folder:
        clip = clip_table(folder).rename(columns={"group": "speaker"}).drop(columns="fold")
        clip["split"] = "train"
        clip.loc[clip["take"] < TEST_TAKES + VALIDATION_TAKES, "split"] = "validation"
        clip.loc[clip["take"] < TEST_TAKES, "split"] = "test"
        return read_splits(clip, params, rates=(RATE,))


ADAPTER = Adapter(
    name="fsdd-official",
    modality="audio",
    classes=DIGITS,
    licence=LICENCE,
    source=SOURCE,
    split_rule="official: takes 0-4 test, 5-49 train, of which 5-9 validate here; every speaker is in every split",
    read=_read,
    archives=(ARCHIVE,),
    unpacked=(FOLDER,),
)
