"""No group of examples (a speaker, a recording, an instrument) stands in two splits."""

from itertools import combinations

import numpy as np

from contrastbench.datasets.base import Split
from contrastbench.errors import UserError


def check_groups(name: str, splits: dict[str, Split]) -> None:
    """Refuse ``splits`` of the data set ``name`` of which two share a value of the column ``group`` (a UserError)."""
    groups = {split: data.columns["group"] for split, data in splits.items() if "group" in data.columns}
    for one, other in combinations(groups, 2):
        shared = np.intersect1d(groups[one], groups[other])
        if len(shared):
            raise UserError(
                f"{name}: {len(shared)} groups (what a speaker, recording or instrument is) stand in both {one} and "
                f"{other}, the first is {shared[0]}; all examples of a group belong into one split"
            )
