"""Parameters of data preparation; presets share the prepared data and may not change them."""

from typing import Literal

from pydantic import Field

from contrastbench.params.base import Section


class DataParams(Section):
    """How data sets are read and split.

    validation_fraction  share of the training data that becomes the validation split where there is none
    on_bad_clip          a corrupt, empty or one-sample sound file, one with NaN samples or a wrong sample rate:
                         ``refuse`` the data set, or ``skip`` the clip, which is then named in meta.json
    stereo               ``average`` the channels, or take a clip of several channels for a bad one (``refuse``)
    """

    validation_fraction: float = Field(gt=0, lt=0.5)
    on_bad_clip: Literal["refuse", "skip"] = "refuse"
    stereo: Literal["average", "refuse"] = "average"
