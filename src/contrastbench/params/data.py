"""Parameters of data preparation; presets share the prepared data and may not change them."""

from pydantic import Field

from contrastbench.params.base import Section


class DataParams(Section):
    """How the validation split is carved out of the training data where a data set has none."""

    validation_fraction: float = Field(gt=0, lt=0.5)
