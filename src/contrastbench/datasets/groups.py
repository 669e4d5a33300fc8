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
                f"{name}: {one} and {other} share {len(shared)} of the groups (speakers, recordings or instruments) "
                f"that belong into one split as a whole; the first is {shared[0]}"
            )
