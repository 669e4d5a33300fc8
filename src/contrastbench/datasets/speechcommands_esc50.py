"""A small set of real sound to train on: the Speech Commands test set, with ESC-50's base classes as ``unlabeled``.

For training without labels on ``train`` and ``unlabeled`` together, so that ESC-50's novel classes, from which
few-shot episodes are sampled (data set ``esc50``), remain unheard.
"""

from pathlib import Path

import pandas as pd

from contrastbench.datasets import esc50, speechcommands_test
from contrastbench.datasets.base import Adapter, Split
from contrastbench.datasets.clips import opened, read_splits
from contrastbench.params.data import DataParams


def base_clips(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of ESC-50's ``clip_table`` whose recording (column ``group``) holds clips of base classes alone."""
    return table[table.groupby("group")["role"].transform("max") == esc50.BASE]


def _read(raw: Path, params: DataParams) -> dict[str, Split]:
    with opened(raw, speechcommands_test.ARCHIVE, speechcommands_test.FOLDER) as folder:
        splits = read_splits(speechcommands_test.split_table(folder), params)
    with opened(raw, esc50.ARCHIVE, esc50.FOLDER) as folder:
        base = base_clips(esc50.clip_table(folder)).assign(split="unlabeled")
        return splits | read_splits(base[["name", "path", "split"]], params)


ADAPTER = Adapter(
    name="speechcommands-esc50",
    modality="audio",
    classes=speechcommands_test.CATEGORIES,
    licence=f"{speechcommands_test.LICENCE}; {esc50.ADAPTER.licence}",
    source=f"{speechcommands_test.ADAPTER.source}; {esc50.ADAPTER.source}",
    split_rule=f"Speech Commands: {speechcommands_test.SPLIT_RULE}; unlabeled: ESC-50's 35 base classes, "
    "less the recordings that hold clips of other classes too",
    read=_read,
    archives=(speechcommands_test.ARCHIVE, esc50.ARCHIVE),
    unpacked=(speechcommands_test.FOLDER, esc50.FOLDER),
)
